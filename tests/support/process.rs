//! Child processes that never outlive the test process, however it ends, and ports for them.
//!
//! Each child runs below a small `sh` that holds the read end of a pipe from us. When we end, by a panic,
//! Ctrl-C or SIGKILL alike, the pipe closes; the shell then kills the child and removes its folder.

use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// `$1` is the folder to remove, the rest is the command. Standard input is our pipe, standard output goes
/// to us for the child's process id, standard error is the child's log, of both its streams.
///
/// A subshell writes the process id: when we are gone already, that write ends only it. The watcher's `read` is the shell's own, so that killing the watcher leaves nothing. A line `keep` tells it
/// to leave the folder alone. Its `trap` keeps it alive for its exit status, which tells the main shell whether
/// it was the pipe's end that killed the child. The one that removes last finds every other child dead.
const SUPERVISOR: &str = r#"
folder=$1; shift
exec 3<&0 </dev/null
"$@" 3<&- >&2 &
child=$!
(echo "$child")
exec >/dev/null 2>&1
(
  verdict=7
  while read -r line <&3; do [ "$line" = keep ] && verdict=8; done
  trap '' TERM
  kill -KILL "$child" 2>/dev/null
  exit "$verdict"
) &
watcher=$!
exec 3<&-
wait "$child"
code=$?
kill -TERM "$watcher" 2>/dev/null
wait "$watcher"
[ $? -eq 7 ] && rm -rf -- "$folder"
exit "$code"
"#;

/// A child process with its supervisor.
#[derive(Debug)]
pub struct Supervised {
    name: String,
    pid: u32,
    log: PathBuf,
    folder: PathBuf,
    kept: bool,
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Supervised {
    /// Starts `command`, whose program, arguments and environment count; its log is `folder/<name>.log`, appended to,
    /// and its process id is in `folder/<name>.pid`.
    pub fn start(name: &str, folder: &Path, command: &Command) -> std::io::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let errors = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(SUPERVISOR).arg("supervisor").arg(folder);
        shell.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        let mut shell = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            // Ctrl-C in the terminal is for us alone: our end is what ends the child.
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = shell.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let pid = line.trim().parse().map_err(|_| {
            std::io::Error::other(format!("no process id from the supervisor of {name}: {line:?}"))
        })?;
        let mut started =
            Self { name: name.to_owned(), pid, log, folder: folder.to_owned(), kept: false, shell, pipe };
        std::fs::write(folder.join(format!("{name}.pid")), pid.to_string())?;
        if std::env::var_os("SQUADCAST_TEST_KEEP").is_some() {
            started.keep_folder();
        }
        Ok(started)
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Sends a signal by its name, like `TERM` or `STOP`. A child that is gone already is no error.
    pub fn signal(&self, signal: &str) {
        signal_pid(self.pid, signal);
    }

    /// The exit code if the child has ended: its own, or 128 + the signal that ended it.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.shell.try_wait().ok().flatten().map(|status| status.code().unwrap_or(-1))
    }

    /// Waits for the child's end.
    pub fn wait(&mut self, patience: Duration) -> Option<i32> {
        let deadline = Instant::now() + patience;
        loop {
            let code = self.exit_code();
            if code.is_some() || Instant::now() >= deadline {
                return code;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the child and waits for its end; the folder stays.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.wait(Duration::from_secs(10));
    }

    /// Lets the supervisor end the child and remove the folder, without waiting for it.
    pub fn let_go(&mut self) {
        // The pipe's end is what it waits for.
        drop(self.pipe.take());
    }

    /// Ends the child where it still runs, and removes its folder.
    pub fn end(&mut self) {
        self.let_go();
        self.wait(Duration::from_secs(10));
        // The supervisor of a child that ended by itself has left the folder.
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    /// From now on the folder stays when we end, for someone to read the logs in it.
    pub fn keep_folder(&mut self) {
        self.kept = true;
        if let Some(pipe) = &mut self.pipe {
            // A supervisor that is gone removes nothing.
            let _ = pipe.write_all(b"keep\n");
        }
    }

    /// What one sees when it failed: the end of its log, and where the log is.
    pub fn report(&self) -> String {
        format!("{}, log {}:\n{}", self.name, self.log.display(), tail(&self.log, 4000))
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.let_go();
        self.wait(Duration::from_secs(10));
    }
}

/// Sends a signal to a process by its id; says whether there is such a process.
pub fn signal_pid(pid: u32, signal: &str) -> bool {
    // The shell's own `kill`: small images lack the program.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"kill -s "$1" "$2""#, "kill", signal, &pid.to_string()]);
    shell.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Whether a process with this id exists.
pub fn alive(pid: u32) -> bool {
    signal_pid(pid, "0")
}

/// The last `bytes` of a file, from a whole line on.
pub fn tail(path: &Path, bytes: u64) -> String {
    let mut end = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        file.read_to_end(&mut end)
    });
    if let Err(error) = read {
        return format!("({}: {error})", path.display());
    }
    let text = String::from_utf8_lossy(&end);
    match text.split_once('\n') {
        Some((_, rest)) if end.len() as u64 == bytes => rest.to_owned(),
        _ => text.into_owned(),
    }
}

/// A port on 127.0.0.1 that nobody listens on now.
///
/// It is below the range that systems draw client ports from: while a server is stopped, a client that tries
/// its port again and again could otherwise be given that very port as its own, and connect to itself.
///
/// No port is given twice by this process: whoever was given it may take a while to listen.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(RandomState::new().build_hasher().finish() % 20_000));
    for _ in 0..1000 {
        let draw = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + u16::try_from(draw % 20_000).expect("below 20000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 10000 and 30000 on 127.0.0.1");
}

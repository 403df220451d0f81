//! The wish to stop: SIGTERM or SIGINT, once for all tasks. Touches the process's signals.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Tells any number of tasks that the process is to stop. Clones share the wish.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Shutdown {
    /// Listens for SIGTERM and SIGINT. A further SIGINT ends the process at once: someone at a terminal
    /// does not want to wait.
    ///
    /// Fails where the operating system refuses a signal handler.
    pub fn on_signals() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::default();
        let trigger = shutdown.clone();
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!("{name}: no new work; what is in hand is finished");
            trigger.request();
            interrupt.recv().await;
            std::process::exit(130);
        });
        Ok(shutdown)
    }

    /// Asks everyone to stop, for a reason other than a signal.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Whether the process is to stop.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the process is to stop; at once if it already is. Borrows nothing, so that it can be
    /// handed to a task.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + Sync + 'static {
        let mut wish = self.0.subscribe();
        async move {
            if wish.wait_for(|stop| *stop).await.is_err() {
                // Nobody is left who could ask.
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn everyone_hears_it() {
        let shutdown = Shutdown::default();
        let early = shutdown.clone().requested();
        assert!(shutdown.requested().now_or_never().is_none());
        assert!(!shutdown.is_requested());
        shutdown.request();
        early.await;
        shutdown.clone().requested().await;
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn nobody_left_is_no_wish() {
        let waiting = Shutdown::default().requested();
        assert!(waiting.now_or_never().is_none());
    }
}

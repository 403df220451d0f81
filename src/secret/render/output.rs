//! Where a template's text goes: bounded, and zeroed when dropped, the buffers that it outgrew included.

use std::io::{self, Write};

use zeroize::Zeroizing;

/// Text that takes no more than it has room for.
pub struct Output {
    text: Zeroizing<String>,
    room: usize,
    wanted: Option<usize>,
}

impl Output {
    /// An empty text that may grow to `room` bytes.
    pub fn new(room: usize) -> Self {
        Self { text: Zeroizing::new(String::new()), room, wanted: None }
    }

    /// How long the text was about to become when there was no more room.
    pub fn overflow(&self) -> Option<usize> {
        self.wanted
    }

    /// The text.
    pub fn into_text(self) -> Zeroizing<String> {
        self.text
    }
}

impl Write for Output {
    /// Takes all of `bytes`, which the engine hands over as whole strings, or none.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.text.len().saturating_add(bytes.len());
        if length > self.room {
            self.wanted.get_or_insert(length);
            return Err(io::ErrorKind::StorageFull.into());
        }
        let part = std::str::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        if length > self.text.capacity() {
            let mut larger = Zeroizing::new(String::with_capacity(length.next_power_of_two().max(256)));
            larger.push_str(&self.text);
            self.text = larger;
        }
        self.text.push_str(part);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Commands that are logged together: one entry of the log holds all that was asked for while the
//! one before it was on its way, so what an entry costs is shared. Each command has its own zxid
//! and its own outcome; nothing but the entry binds them together.
//!
//! ```text
//! entry = { len u32, command (len bytes) }*
//! ```

use bytes::{Bytes, BytesMut};

use super::command;
use crate::wire::jute::{JuteError, JuteWrite as _, Reader};

/// Commands on their way into one entry.
#[derive(Debug, Default)]
pub struct Batch(BytesMut);

impl Batch {
    /// Adds a command, as [`Command::encode`](super::Command::encode) made it.
    pub fn push(&mut self, command: &[u8]) {
        self.0.buffer(Some(command));
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// The entry; the batch is empty again.
    pub fn take(&mut self) -> Bytes {
        self.0.split().freeze()
    }
}

/// The commands of `entry` in their order. After an error there are none: the rest can't be told
/// apart.
pub fn commands(entry: &[u8]) -> impl Iterator<Item = Result<&[u8], JuteError>> {
    let mut reader = Reader::new(entry);
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || reader.rest().is_empty() {
            return None;
        }
        let command = reader
            .buffer()
            .and_then(|command| command.ok_or(JuteError::Range));
        failed = command.is_err();
        Some(command)
    })
}

/// The version of the first command that a newer program than this one has written, if there is any.
/// What is damaged is none.
pub fn newer(entry: &[u8]) -> Option<u8> {
    commands(entry)
        .map_while(Result::ok)
        .filter_map(|command| command.first().copied())
        .find(|version| *version > command::VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_a_newer_program_is_told_from_damage() {
        let mut batch = Batch::default();
        batch.push(&[command::VERSION, 3]);
        assert_eq!(newer(&batch.take()), None);
        batch.push(&[command::VERSION, 3]);
        batch.push(&[command::VERSION + 1]);
        assert_eq!(newer(&batch.take()), Some(command::VERSION + 1));
        batch.push(b"");
        assert_eq!(newer(&batch.take()), None);
        assert_eq!(newer(&[0xff; 8]), None);
    }

    #[test]
    fn round_trip_and_damage() {
        let mut batch = Batch::default();
        assert!(commands(&batch.take()).next().is_none());
        for command in [&b"one"[..], b"", b"three"] {
            batch.push(command);
        }
        let entry = batch.take();
        assert_eq!(batch.bytes(), 0);
        let back: Result<Vec<_>, _> = commands(&entry).collect();
        assert_eq!(back, Ok(vec![&b"one"[..], b"", b"three"]));
        let cut: Vec<_> = commands(entry.get(..9).unwrap()).collect();
        assert_eq!(cut, [Ok(&b"one"[..]), Err(JuteError::Short)]);
        assert_eq!(
            commands(&[0xff; 8]).collect::<Vec<_>>(),
            [Err(JuteError::Range)]
        );
    }
}

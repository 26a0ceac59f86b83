//! A producer's end of a log: claims it, finds where to resume, opens it, and writes what the source
//! brings.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use towpath_protocol::gtid::GtidSet;

use super::follow::Resume;
use super::log::{LogError, Reader, TailError, Writer, find_tail};
use super::pack::{Claimed, Format, PackError, Packer, Sealed};
use crate::batch;

/// An OPEN comes this often at the latest, if anything was written since the last one.
const OPEN_EVERY: Duration = Duration::from_secs(5);

/// Why a producer's end fails.
#[derive(Debug, thiserror::Error)]
pub enum OutletError {
    /// The log's end can't be found, or another producer has it.
    #[error(transparent)]
    Tail(#[from] TailError),
    /// The log can't be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What came from the source can't be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// A log that was claimed: all lower terms are over.
pub struct Claim<W> {
    writer: W,
    claimed: Claimed,
    resume: Option<Resume>,
}

impl<W: Writer> Claim<W> {
    /// Claims the log for the term of `format`, and reads its end.
    ///
    /// # Errors
    /// [`TailError::Superseded`] where a higher term is there; those of the log.
    pub async fn take(
        mut writer: W,
        reader: &mut impl Reader,
        format: Format,
    ) -> Result<Self, OutletError> {
        let (pipeline, term) = (format.pipeline, format.term);
        let (claimed, claim) = Claimed::new(format, now_us())?;
        writer.publish(claim).await?;
        writer.settle().await?;
        let resume = find_tail(reader, pipeline, term).await?;
        Ok(Self {
            writer,
            claimed,
            resume,
        })
    }

    /// Where to resume, as the log says; `None` where it says nothing: then from what all sinks hold.
    pub fn resume(&self) -> Option<&Resume> {
        self.resume.as_ref()
    }

    /// Opens the log. The source is then to be read from `resume.before` on.
    ///
    /// # Errors
    /// [`PackError::Gtids`], and those of the log.
    pub async fn open(mut self, resume: Resume) -> Result<Outlet<W>, OutletError> {
        let (packer, open) = self.claimed.open(resume.before, resume.ord, now_us())?;
        self.writer.publish(open).await?;
        Ok(Outlet {
            writer: self.writer,
            packer,
            made: Vec::new(),
            opened: Instant::now(),
        })
    }
}

/// A log that is open. After an error, and after one of its futures was cancelled, the term is over.
pub struct Outlet<W> {
    writer: W,
    packer: Packer,
    made: Vec<Sealed>,
    /// When an OPEN was written last.
    opened: Instant,
}

impl<W: Writer> Outlet<W> {
    /// Takes in what comes next from the source; it may wait for more before it is written.
    ///
    /// # Errors
    /// [`OutletError`]; the term is over then.
    pub async fn send(&mut self, message: &batch::Message) -> Result<(), OutletError> {
        self.packer.push(message, now_us(), &mut self.made)?;
        self.write().await
    }

    /// Writes what waits: the source has nothing more at this moment.
    ///
    /// # Errors
    /// As [`Outlet::send`].
    pub async fn flush(&mut self) -> Result<(), OutletError> {
        self.packer.flush(now_us(), &mut self.made)?;
        self.write().await
    }

    /// Waits until all that was written is confirmed.
    ///
    /// # Errors
    /// As [`Outlet::send`].
    pub async fn settle(&mut self) -> Result<(), OutletError> {
        self.flush().await?;
        Ok(self.writer.settle().await?)
    }

    /// All whole transactions that were sent, and what came before them.
    pub fn before(&self) -> &GtidSet {
        self.packer.before()
    }

    /// The log's writer.
    pub fn writer(&self) -> &W {
        &self.writer
    }

    async fn write(&mut self) -> Result<(), OutletError> {
        if self.opened.elapsed() >= OPEN_EVERY {
            self.packer.open(now_us(), &mut self.made)?;
            self.opened = Instant::now();
        }
        for sealed in self.made.drain(..) {
            self.writer.publish(sealed).await?;
        }
        Ok(())
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

//! Compressed transactions, flattened: a payload event goes in, its events come out.
//!
//! A large payload is inflated while it comes in. Its checksum stands at its end, so what is wrong
//! with it before that is told only once the checksum was right: a damaged event is a damaged
//! event, whatever it seems to hold.

use super::*;

/// A payload event at least this long is inflated while it comes in; a shorter one, once its
/// checksum is found right. In bytes.
pub(super) const ARRIVING_LEN_MIN: usize = 1024 * 1024;

/// With what a source ends the first half of a `CREATE TABLE ... SELECT`.
const ROWS_FOLLOW: &[u8] = b"START TRANSACTION";

/// The payload event that is being inflated.
#[derive(Debug)]
pub(super) struct Payload {
    /// What has come of it and was not used, in the packet buffer.
    input: Range<usize>,
    /// None once it is known to be right.
    arriving: Option<Arriving>,
}

impl EventStream {
    /// Whether the event that was handed out last came out of a compressed transaction whose
    /// checksum has not come yet.
    ///
    /// What is made of such events must have no effect that lasts before [`EventStream::verify`].
    pub fn is_unverified(&self) -> bool {
        let payload = self.payload.as_ref();
        payload.is_some_and(|payload| payload.arriving.is_some())
    }

    /// Reads on to the end of the compressed transaction that the last event came out of, and
    /// checks its checksum. To be called when the transaction's own end was handed out and before
    /// it takes effect; nothing to do if `is_unverified` is false.
    ///
    /// # Errors
    /// As `next`; the checksum is wrong, or there are events left.
    pub async fn verify(&mut self) -> Result<(), SourceError> {
        while self.is_unverified() {
            match self.advance_inner_or_fail()? {
                Inner::Event(_) => self.condemn("there are events behind its transaction's end"),
                Inner::Awaited => self.fill().await?,
                Inner::End => {}
            }
        }
        Ok(())
    }

    /// Why what came out of a compressed transaction made no sense, if that's because the
    /// transaction is damaged or can't be read on; None if the source has sent it so.
    pub async fn damage(&mut self) -> Option<SourceError> {
        if !self.is_unverified() {
            return None;
        }
        self.condemn("an event in it can't be used");
        match self.verify().await {
            Ok(()) | Err(SourceError::Payload { .. }) => None,
            Err(error) => Some(error),
        }
    }

    /// Begins with the whole payload event that is the current one.
    pub(super) fn begin_payload(&mut self) -> Result<bool, SourceError> {
        let event = self.current.bytes.clone();
        let body = event.start + EventHeader::LEN..event.end;
        let mut inflater = self.take_inflater()?;
        let begun = inflater.begin(self.conn.reader.bytes(body.clone()), body.len());
        self.inflater = Some(inflater);
        let start = begun.map_err(|what| self.bad_payload(what))?;
        self.payload = Some(Payload {
            input: body.start + start..body.end,
            arriving: None,
        });
        Ok(matches!(self.advance_inner()?, Inner::Event(_)))
    }

    /// Begins with a large event that is not all there, if it is one to be used while it comes in.
    pub(super) fn begin_arriving(&mut self) -> Result<bool, SourceError> {
        let Some(head) = self.conn.reader.head(ARRIVING_LEN_MIN) else {
            return Ok(false);
        };
        // A packet is one byte that says "an event", and the event.
        let start = head.start + 1;
        let Some((0x00, event)) = self.conn.reader.bytes(head).split_first() else {
            return Ok(false);
        };
        let (header, _) = EventHeader::parse(event).map_err(|e| self.malformed(&e))?;
        let body = start + EventHeader::LEN..start + event.len();
        let inflates = header.event_type == EventType::TRANSACTION_PAYLOAD && self.flatten;
        // A search looks only at where they end.
        let skips = !self.flatten
            && (header.event_type == EventType::TRANSACTION_PAYLOAD || header.event_type.is_rows());
        if !(inflates || skips) {
            return Ok(false);
        }
        let behind = if self.checksum { checksum::LEN } else { 0 };
        let body_len = (header.event_size as usize).saturating_sub(EventHeader::LEN + behind);
        let (mut skip, mut wrong) = (EventHeader::LEN, None);
        if inflates {
            let mut inflater = self.take_inflater()?;
            match inflater.begin(self.conn.reader.bytes(body), body_len) {
                Ok(len) => skip += len,
                Err(what) => wrong = Some(what),
            }
            self.inflater = Some(inflater);
        }
        let head = self.conn.reader.bytes(start..start + skip);
        let Some(mut arriving) = Arriving::begin(header, head, self.checksum) else {
            return Err(self.wrong_size(&header, skip));
        };
        (arriving.skipped, arriving.wrong) = (skips, wrong);
        self.conn.reader.in_pieces(1 + skip);
        self.begun = true;
        arriving.begins_at = self.position.offset;
        // As all of the head, not to be trusted yet; nor is it used before it is.
        self.position.offset = extend(self.position.offset, header.log_pos);
        self.payload = Some(Payload {
            input: 0..0,
            arriving: Some(arriving),
        });
        Ok(true)
    }

    /// The payload's next event, made the current one.
    pub(super) fn advance_inner(&mut self) -> Result<Inner, SourceError> {
        while let Some(payload) = &mut self.payload {
            let wanted = payload
                .arriving
                .as_ref()
                .is_none_or(|arriving| !arriving.skipped && arriving.wrong.is_none());
            if let (Some(inflater), true) = (&mut self.inflater, wanted) {
                let mut input = self.conn.reader.bytes(payload.input.clone());
                let outcome = inflater.next(&mut input, payload.arriving.is_none());
                payload.input.start = payload.input.end - input.len();
                match outcome {
                    Ok(Inner::Event(bytes)) => match self.inner(bytes.clone()) {
                        Ok(()) => return Ok(Inner::Event(bytes)),
                        Err(what) => self.blame(what)?,
                    },
                    Ok(Inner::End) => {
                        self.payload = None;
                        break;
                    }
                    Ok(Inner::Awaited) => {}
                    Err(what) => self.blame(what)?,
                }
            }
            if !self.next_piece()? {
                return Ok(Inner::Awaited);
            }
            if self.payload.is_none() {
                // All of an event that nobody wants the bytes of.
                return Ok(Inner::Event(0..0));
            }
        }
        Ok(Inner::End)
    }

    fn advance_inner_or_fail(&mut self) -> Result<Inner, SourceError> {
        let outcome = self.advance_inner();
        self.failed |= outcome.is_err();
        outcome
    }

    /// Makes an inner event the current one.
    fn inner(&mut self, bytes: Range<usize>) -> Result<(), String> {
        let event = self
            .inflater
            .as_ref()
            .map(|inflater| inflater.bytes(bytes.clone()));
        let (header, body) =
            EventHeader::parse(event.unwrap_or_default()).map_err(|error| error.to_string())?;
        // DDL takes effect before its transaction's end. MySQL compresses none, so only damage can
        // look like this; alone in its transaction it is the end of that.
        if header.event_type == EventType::QUERY && self.is_unverified() && rows_follow(body) {
            return Err("a CREATE TABLE ... SELECT is in it".to_owned());
        }
        self.current = Current {
            header,
            bytes,
            artificial: false,
            inner: true,
        };
        Ok(())
    }

    /// Something is wrong with the payload: an error if its checksum was right, else one to be told
    /// when it is found right.
    fn blame(&mut self, what: String) -> Result<(), SourceError> {
        if !self.is_unverified() {
            return Err(self.bad_payload(what));
        }
        self.condemn(&what);
        Ok(())
    }

    fn condemn(&mut self, what: &str) {
        let payload = self.payload.as_mut();
        if let Some(arriving) = payload.and_then(|payload| payload.arriving.as_mut()) {
            arriving.wrong.get_or_insert_with(|| what.to_owned());
        }
    }

    /// Takes what has come of an event that is not all there, and checks the checksum at its end;
    /// false if nothing has come.
    fn next_piece(&mut self) -> Result<bool, SourceError> {
        let piece = self.conn.reader.next_piece()?;
        let Some(payload) = &mut self.payload else {
            return Ok(true);
        };
        let Some(arriving) = &mut payload.arriving else {
            return Ok(true);
        };
        match piece {
            Piece::Awaited => Ok(false),
            Piece::Bytes(range) => {
                match arriving.take(self.conn.reader.bytes(range.clone())) {
                    Some(len) => payload.input = range.start..range.start + len,
                    None => {
                        let header = arriving.header;
                        let more = header.event_size as usize + 1;
                        return Err(self.wrong_size(&header, more));
                    }
                }
                Ok(true)
            }
            Piece::End => self.arrived().map(|()| true),
        }
    }

    /// All of the event has come.
    fn arrived(&mut self) -> Result<(), SourceError> {
        let Some(arriving) = self
            .payload
            .as_mut()
            .and_then(|payload| payload.arriving.take())
        else {
            return Ok(());
        };
        let header = arriving.header;
        if !arriving.is_whole() {
            return Err(self.wrong_size(&header, arriving.come()));
        }
        let (skipped, wrong) = (arriving.skipped, arriving.wrong.clone());
        let begins_at = arriving.begins_at;
        if let Err(error) = arriving.end() {
            self.position.offset = begins_at;
            return Err(self.malformed(&error));
        }
        if let Some(what) = wrong {
            return Err(self.bad_payload(what));
        }
        if skipped {
            self.payload = None;
            self.current = Current {
                header,
                bytes: 0..0,
                artificial: false,
                inner: false,
            };
        }
        Ok(())
    }

    fn take_inflater(&mut self) -> Result<Box<Inflater>, SourceError> {
        match self.inflater.take() {
            Some(inflater) => Ok(inflater),
            None => Ok(Box::new(
                Inflater::new().map_err(|what| self.bad_payload(what))?,
            )),
        }
    }
}

/// Whether a Query event is the first half of a `CREATE TABLE ... SELECT`.
fn rows_follow(body: &[u8]) -> bool {
    let body = body.trim_ascii_end();
    body.len()
        .checked_sub(ROWS_FOLLOW.len())
        .and_then(|at| body.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(ROWS_FOLLOW))
}

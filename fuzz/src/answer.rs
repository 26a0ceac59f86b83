//! A connection's answers, decoded as a client would: each field, nothing left over, in the order
//! of the requests.

use std::collections::VecDeque;

use towpath_directory::wire::jute::{JuteError, Reader};
use towpath_directory::wire::request::{acls, id, opcode};

/// One request as the client knows it.
struct Asked {
    xid: i32,
    opcode: i32,
}

/// Checks all answers in `output` to what was sent in `input`.
pub fn check(input: &[u8], output: &[u8], frame_bytes_max: usize) {
    if output.is_empty() {
        return;
    }
    let Some((asked, whole)) = requests(input, frame_bytes_max) else {
        // A four-letter word, or a connect record that is none: text, or nothing.
        assert!(std::str::from_utf8(output).is_ok(), "{output:?}");
        return;
    };
    let mut reader = Reader::new(output);
    let first = frame(&mut reader).expect("the answer to the connect record");
    let session = connected(first).expect("the answer to the connect record");
    if session == 0 {
        assert!(
            reader.rest().is_empty(),
            "a session that is gone is answered"
        );
        return;
    }
    let mut asked: VecDeque<Asked> = asked.into();
    while !reader.rest().is_empty() {
        let bytes = frame(&mut reader).expect("a whole frame");
        let mut r = Reader::new(bytes);
        let header = (|| Ok::<_, JuteError>((r.i32()?, r.i64()?, r.i32()?)))();
        let (xid, zxid, error) = header.expect("a header");
        // A client may use -1 as an xid, too; then it's to blame that it can't tell.
        if xid == -1 && zxid == -1 && error == 0 {
            event(&mut r).expect("a watch event");
            continue;
        }
        let of = asked.pop_front().expect("an answer that was asked for");
        assert_eq!(xid, of.xid, "answers in the order of the requests");
        if error == 0 {
            body(of.opcode, &mut r)
                .unwrap_or_else(|e| panic!("answer to {}: {e}: {bytes:?}", of.opcode));
        } else {
            assert!((-130..0).contains(&error), "error {error}");
        }
        assert!(
            r.rest().is_empty(),
            "answer to {} has {:?} left",
            of.opcode,
            r.rest()
        );
    }
    assert!(
        !whole || asked.is_empty(),
        "{} requests were not answered",
        asked.len()
    );
}

/// The requests of a connection, and whether all of them must be answered; `None` if it doesn't
/// begin with a connect record.
fn requests(input: &[u8], frame_bytes_max: usize) -> Option<(Vec<Asked>, bool)> {
    let mut reader = Reader::new(input);
    let record = frame(&mut reader).ok()?;
    towpath_directory::wire::request::Connect::decode(record).ok()?;
    let mut asked = Vec::new();
    while !reader.rest().is_empty() {
        let Ok(bytes) = frame(&mut reader) else {
            return Some((asked, false));
        };
        let mut r = Reader::new(bytes);
        let (Ok(xid), Ok(opcode)) = (r.i32(), r.i32()) else {
            return Some((asked, false));
        };
        asked.push(Asked { xid, opcode });
        let ends = matches!(opcode, opcode::CLOSE_SESSION | opcode::AUTH);
        if bytes.len() > frame_bytes_max || ends {
            // What comes after may be answered or not.
            let rest = requests_behind(&mut reader);
            asked.extend(rest);
            return Some((asked, false));
        }
    }
    Some((asked, true))
}

fn requests_behind(reader: &mut Reader<'_>) -> Vec<Asked> {
    let mut asked = Vec::new();
    while let Ok(bytes) = frame(reader) {
        let mut r = Reader::new(bytes);
        let (Ok(xid), Ok(opcode)) = (r.i32(), r.i32()) else {
            break;
        };
        asked.push(Asked { xid, opcode });
    }
    asked
}

fn frame<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], JuteError> {
    r.buffer()?.ok_or(JuteError::Range)
}

fn connected(bytes: &[u8]) -> Result<i64, JuteError> {
    let mut r = Reader::new(bytes);
    let version = r.i32()?;
    let timeout = r.i32()?;
    let session = r.i64()?;
    let password = r.buffer()?.ok_or(JuteError::Range)?;
    assert_eq!((version, password.len()), (0, 16));
    assert!(session == 0 || timeout > 0, "timeout {timeout}");
    if !r.rest().is_empty() {
        r.bool()?;
    }
    assert!(r.rest().is_empty());
    Ok(session)
}

fn event(r: &mut Reader<'_>) -> Result<(), JuteError> {
    let (kind, state, path) = (r.i32()?, r.i32()?, r.string()?);
    assert!(
        (1..=4).contains(&kind) && state == 3,
        "event {kind} {state} {path}"
    );
    assert!(r.rest().is_empty());
    Ok(())
}

fn body(code: i32, r: &mut Reader<'_>) -> Result<(), JuteError> {
    use opcode::*;
    match code {
        CREATE | SYNC => drop(r.string()?),
        CREATE2 | CREATE_CONTAINER | CREATE_TTL => {
            r.string()?;
            stat(r)?;
        }
        EXISTS | SET_DATA | SET_ACL => stat(r)?,
        GET_DATA => data(r)?,
        GET_ACL => {
            assert!(!acls(r)?.is_empty());
            stat(r)?;
        }
        GET_CHILDREN | GET_EPHEMERALS => strings(r)?,
        GET_CHILDREN2 => {
            strings(r)?;
            stat(r)?;
        }
        GET_ALL_CHILDREN_NUMBER => assert!(r.i32()? >= 0),
        ADD_WATCH => assert_eq!(r.i32()?, 0),
        WHO_AM_I => drop(r.vector(id)?),
        MULTI | MULTI_READ => multi(r)?,
        PING | DELETE | CHECK | CHECK_WATCHES | REMOVE_WATCHES | AUTH | SET_WATCHES
        | SET_WATCHES2 | CLOSE_SESSION => {}
        other => panic!("operation {other} is not offered, but was done"),
    }
    Ok(())
}

fn multi(r: &mut Reader<'_>) -> Result<(), JuteError> {
    loop {
        let (code, done, error) = (r.i32()?, r.bool()?, r.i32()?);
        if done {
            assert_eq!((code, error), (-1, -1));
            return Ok(());
        }
        if code == -1 {
            assert_eq!(r.i32()?, error);
        } else {
            assert_eq!(error, 0);
            body(code, r)?;
        }
    }
}

fn data(r: &mut Reader<'_>) -> Result<(), JuteError> {
    let len = r.buffer()?.map_or(0, <[u8]>::len);
    let mut numbers = r.clone();
    stat(r)?;
    for _ in 0..4 {
        numbers.i64()?;
    }
    for _ in 0..3 {
        numbers.i32()?;
    }
    numbers.i64()?;
    assert_eq!(numbers.i32()?, len as i32, "the length of the data");
    Ok(())
}

fn strings(r: &mut Reader<'_>) -> Result<(), JuteError> {
    r.vector(|r| r.string().map(drop)).map(drop)
}

fn stat(r: &mut Reader<'_>) -> Result<(), JuteError> {
    for _ in 0..4 {
        r.i64()?;
    }
    for _ in 0..3 {
        r.i32()?;
    }
    r.i64()?;
    r.i32()?;
    assert!(r.i32()? >= 0, "number of children");
    r.i64().map(drop)
}

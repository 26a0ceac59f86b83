//! A snapshot file. An even first byte: the rest is the file. An odd one: the rest is blocks of
//! it, a kind and a chunk each, which get their lengths and checksums here, since no fuzzer
//! guesses those.

use towpath_directory::state::snapshot;

use crate::{chunk, whole};

/// Reads a file.
pub fn check(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let file = if mode % 2 == 0 {
        rest.to_vec()
    } else {
        file(rest)
    };
    let _ = snapshot::peek(&file[..]);
    if let Ok((state, _)) = snapshot::read(&file[..]) {
        whole::check(&state);
        whole::check_snapshot(&state);
    }
}

/// The file of such blocks.
pub fn file(mut blocks: &[u8]) -> Vec<u8> {
    let mut out = b"TOWPATH\x01".to_vec();
    while let Some((kind, mut rest)) = blocks.split_first() {
        let payload = chunk(&mut rest).unwrap_or_default();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[*kind]);
        hasher.update(payload);
        out.extend_from_slice(&(payload.len() as u32 + 1).to_be_bytes());
        out.extend_from_slice(&hasher.finalize().to_be_bytes());
        out.push(*kind);
        out.extend_from_slice(payload);
        blocks = rest;
    }
    out
}

//! Authentication plugins: what to answer to which challenge. Pure; `handshake` does the talking.
//!
//! Spoken: `caching_sha2_password` (MySQL manual, "Caching SHA-2 Pluggable Authentication";
//! `sql-common/client_authentication.cc`) and `mysql_native_password`. A password leaves this
//! machine only scrambled with the server's nonce, over TLS, or encrypted with the server's RSA
//! key. Over plain text that key is taken from the server itself, so a man in the middle could
//! give us its own; who must exclude that uses TLS with verification.

use mysql_common::crypto::rsa::{GetRandom, Pkcs1OaepPadding, PublicKey};
use mysql_common::scramble::{scramble_native, scramble_sha256};
use num_bigint::BigUint;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

use super::error::SourceError;

/// Bytes of a nonce that take part in a scramble.
pub(super) const NONCE_LEN: usize = 20;

/// Accepted RSA moduli in bits. MySQL makes keys of 2048; the upper bound limits the work that a
/// hostile server can cause.
const MODULUS_BITS: std::ops::RangeInclusive<u64> = 1024..=8192;

/// What OAEP with SHA-1 takes away from a block, in bytes (RFC 8017, 7.1.1).
const OAEP_OVERHEAD_LEN: usize = 2 * 20 + 2;

/// An authentication plugin that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plugin {
    CachingSha2Password,
    MysqlNativePassword,
}

impl Plugin {
    /// By its name in the protocol.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"caching_sha2_password" => Some(Self::CachingSha2Password),
            b"mysql_native_password" => Some(Self::MysqlNativePassword),
            _ => None,
        }
    }

    /// The scrambled password; empty for an empty password, which is how the protocol says so.
    pub(super) fn scramble(self, nonce: &[u8], password: &str) -> Vec<u8> {
        let password = password.as_bytes();
        match self {
            Self::CachingSha2Password => scramble_sha256(nonce, password)
                .map(|bytes| bytes.to_vec())
                .unwrap_or_default(),
            Self::MysqlNativePassword => scramble_native(nonce, password)
                .map(|bytes| bytes.to_vec())
                .unwrap_or_default(),
        }
    }
}

/// The password with its terminating zero, as full authentication sends it over TLS.
pub(super) fn clear_password(password: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(password.len() + 1);
    bytes.extend_from_slice(password.as_bytes());
    bytes.push(0);
    bytes
}

/// The password for full authentication without TLS: mixed with the nonce, then encrypted with
/// the server's RSA key (PEM, SubjectPublicKeyInfo) and OAEP.
pub(super) fn encrypt_password(
    password: &str,
    nonce: &[u8],
    pem: &[u8],
) -> Result<Vec<u8>, SourceError> {
    let unusable = |what| SourceError::RsaKey { what };
    let mut block = clear_password(password);
    for (byte, mask) in block.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= mask;
    }
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| unusable("not PEM"))?;
    let (modulus, exponent) = rsa_numbers(&der).ok_or_else(|| unusable("not an RSA key"))?;
    // mysql_common takes the numbers on trust, so they are checked here: whole octets, because it
    // rounds the modulus' length down, an odd modulus and exponent, and room for the block.
    let bits = modulus.bits();
    if !MODULUS_BITS.contains(&bits) || bits % 8 != 0 || !modulus.bit(0) {
        return Err(unusable("its modulus has an unusual length"));
    }
    if !exponent.bit(0) || !(2..=64).contains(&exponent.bits()) {
        return Err(unusable("its exponent is unusual"));
    }
    let key = PublicKey::new(modulus, exponent);
    if block.len() + OAEP_OVERHEAD_LEN > key.num_octets() {
        return Err(unusable("too short for this password"));
    }
    Ok(key.encrypt_block(&block, Pkcs1OaepPadding::new(GetRandom)))
}

const DER_INTEGER: u8 = 0x02;
const DER_BIT_STRING: u8 = 0x03;
const DER_SEQUENCE: u8 = 0x30;

/// Modulus and exponent of a SubjectPublicKeyInfo (RFC 5280, 4.1; RFC 8017, A.1.1).
fn rsa_numbers(der: &[u8]) -> Option<(BigUint, BigUint)> {
    let (mut info, _) = der_element(der, DER_SEQUENCE)?;
    let _algorithm = der_take(&mut info, DER_SEQUENCE)?;
    let (unused_bits, key) = der_take(&mut info, DER_BIT_STRING)?.split_first()?;
    if *unused_bits != 0 {
        return None;
    }
    let (mut numbers, _) = der_element(key, DER_SEQUENCE)?;
    let modulus = der_take(&mut numbers, DER_INTEGER)?;
    let exponent = der_take(&mut numbers, DER_INTEGER)?;
    Some((
        BigUint::from_bytes_be(modulus),
        BigUint::from_bytes_be(exponent),
    ))
}

fn der_take<'a>(from: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (content, rest) = der_element(from, tag)?;
    *from = rest;
    Some(content)
}

/// An element's content and what follows it.
fn der_element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // The long form; two length bytes are 64 KiB, more than any key.
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (
            usize::from(u16::from_be_bytes(*rest.first_chunk()?)),
            rest.get(2..)?,
        ),
        _ => return None,
    };
    if *found != tag {
        return None;
    }
    rest.split_at_checked(len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAxSKOcxiet8lLMn8ImyUE\n\
        bGGKob5EdRz/4wdiw12ED0GfKKTKhVnodFCfm1mdy7bKOX5QxL9skrvYodpW43eR\n\
        R5bfOzIgy1qIB8RYb6qOXRBw1oA4snBDqtUjDv/lbHLJN+IbzM4oU+e3Lt9rXyLX\n\
        VY289ewONPweXHqSCnTL91w+wkU1peIFV2QhZ+upUCdCtwOn5hnJPNgxtbklFoya\n\
        C8W3Z7Xx7He2QDJsEWAqX197efw0L6j8X8Tyd8Uwb7zUB1tfMGhHfm9EwejPAtzx\n\
        4GztQNtNMtGS2oGZLQBLV9hib4dDL92iiZeckg2LAf4GsJofLLR8mcHCRoqVbQJ1\n\
        YQIDAQAB\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn scrambles_are_those_of_mysql() {
        let nonce = b"N3HP:qIYa_ab=?dx{`aa";
        assert_eq!(Plugin::CachingSha2Password.scramble(nonce, "x").len(), 32);
        assert_eq!(Plugin::MysqlNativePassword.scramble(nonce, "x").len(), 20);
        assert!(Plugin::CachingSha2Password.scramble(nonce, "").is_empty());
        // From mysql_common's vectors, which are those of the server's own tests.
        let nonce = [
            0x4e, 0x52, 0x33, 0x48, 0x50, 0x3a, 0x71, 0x49, 0x59, 0x61, 0x5f, 0x39, 0x3d, 0x64,
            0x62, 0x3f, 0x53, 0x64, 0x7b, 0x60,
        ];
        let scrambled = Plugin::MysqlNativePassword.scramble(&nonce, "G!ider27");
        assert_eq!(scrambled[..4], [0x09, 0xcf, 0xf8, 0x85]);
    }

    #[test]
    fn a_good_key_encrypts_to_one_block() {
        let block = encrypt_password("secret", &[1; NONCE_LEN], KEY.as_bytes()).unwrap();
        assert_eq!(block.len(), 256);
        // OAEP is randomised: the same password never looks the same.
        assert_ne!(
            block,
            encrypt_password("secret", &[1; NONCE_LEN], KEY.as_bytes()).unwrap()
        );
    }

    #[test]
    fn a_password_too_long_for_the_key_is_an_error() {
        let most = 256 - OAEP_OVERHEAD_LEN - 1;
        assert!(encrypt_password(&"x".repeat(most), &[1; NONCE_LEN], KEY.as_bytes()).is_ok());
        let error = encrypt_password(&"x".repeat(most + 1), &[1; NONCE_LEN], KEY.as_bytes());
        assert!(matches!(error, Err(SourceError::RsaKey { .. })));
    }

    #[test]
    fn a_key_that_is_none_is_an_error() {
        for key in [
            "",
            "garbage",
            &KEY[..200],
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            let error = encrypt_password("secret", &[1; NONCE_LEN], key.as_bytes());
            assert!(matches!(error, Err(SourceError::RsaKey { .. })), "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_key_never_panics(at in 0_usize..294, byte in any::<u8>()) {
            let der = SubjectPublicKeyInfoDer::from_pem_slice(KEY.as_bytes()).unwrap();
            let mut der = der.to_vec();
            der[at] = byte;
            let _ = rsa_numbers(&der);
        }
    }
}

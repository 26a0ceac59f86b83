//! `mysql://user:password@host:port/?ssl-mode=…&ssl-ca=…`
//!
//! The URL is split first and `${NAME}` replaced in its parts afterwards, so that a password from
//! a variable needs no percent-encoding and can't move the host. A URL that is one variable as a
//! whole is taken from it as written.
//!
//! Errors never quote the URL: with a stray `/` or `@`, any part of it may be a piece of the
//! password.

use std::net::Ipv6Addr;

use super::endpoint::{TlsMode, TlsModeParseError};
use super::template::{self, Piece, TemplateError};
use super::{Environment, units};

/// MySQL's port.
const PORT_DEFAULT: u16 = 3306;

/// Schemes that may be named in an error; anything else could be a piece of a secret.
const KNOWN_SCHEMES: [&str; 14] = [
    "mariadb",
    "postgres",
    "postgresql",
    "sqlite",
    "amqp",
    "amqps",
    "kafka",
    "redis",
    "http",
    "https",
    "file",
    "mysqlx",
    "jdbc",
    "mongodb",
];

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Option<super::Secret>,
    pub(super) tls: Option<TlsMode>,
    pub(super) tls_ca: Option<String>,
}

/// Why a URL can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("not a URL; write mysql://user:${{PASSWORD}}@host:3306")]
    Form,
    #[error("{scheme}:// is not in this version; write mysql://user:${{PASSWORD}}@host:3306")]
    Scheme { scheme: &'static str },
    #[error("unknown scheme; write mysql://user:${{PASSWORD}}@host:3306")]
    UnknownScheme,
    #[error("no user; write mysql://user:${{PASSWORD}}@host:3306")]
    NoUser,
    #[error(
        "no user before the first \"/\", \"?\" or \"#\"; percent-encode these in a password \
         (%2F, %3F, %23), or write ${{PASSWORD}}, which needs no encoding"
    )]
    Unencoded,
    #[error("no host; write mysql://user:${{PASSWORD}}@host:3306")]
    NoHost,
    #[error(
        "the host has a character that no host name has; write a name or an address, \
         and the port after it as :3306"
    )]
    Host,
    #[error("the brackets hold no IPv6 address; write one, as in [::1]:3306")]
    Ipv6,
    #[error("an IPv6 address needs brackets; write it as in [::1]:3306")]
    Brackets,
    #[error("the port is no number from 1 to 65535; write it after the host, as in :3306")]
    Port,
    #[error("a path after the host; remove it (which tables are taken is said by source.tables)")]
    Path,
    #[error("a \"#\" after the host; remove it, or percent-encode it as %23")]
    Fragment,
    #[error("unknown parameter; valid ones are ssl-mode and ssl-ca")]
    Parameter,
    #[error("the parameter {name} is there twice; remove one")]
    Twice { name: &'static str },
    #[error("ssl-mode is {0}")]
    Tls(#[from] TlsModeParseError),
    #[error("a \"%\" without two hexadecimal digits; write %25 for a literal %")]
    Percent,
    #[error("percent-encoded bytes that aren't UTF-8; encode the UTF-8 form")]
    Utf8,
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Takes a URL apart.
pub(super) fn parse(raw: &str, env: Environment<'_>) -> Result<Url, UrlError> {
    if let [Piece::Variable(name)] = template::pieces(raw)?.as_slice() {
        return split(template::variable(name, env)?.trim(), None);
    }
    split(raw, Some(env))
}

/// `env` is `None` when the text comes from a variable itself and has none.
fn split(text: &str, env: Option<Environment<'_>>) -> Result<Url, UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Form)?;
    if scheme != "mysql" {
        let known = KNOWN_SCHEMES.into_iter().find(|known| *known == scheme);
        return Err(
            known.map_or(UrlError::UnknownScheme, |scheme| UrlError::Scheme {
                scheme,
            }),
        );
    }
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let Some((login, address)) = authority.rsplit_once('@') else {
        return Err(if tail.contains('@') {
            UrlError::Unencoded
        } else {
            UrlError::NoUser
        });
    };
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    let user = decode(user, env)?;
    if user.is_empty() {
        return Err(UrlError::NoUser);
    }
    let password = password.map(|password| decode(password, env)).transpose()?;
    let (host, port) = host_and_port(address, env)?;
    let mut url = Url {
        host,
        port,
        user,
        password: password.map(super::Secret::new),
        tls: None,
        tls_ca: None,
    };
    parameters(tail, env, &mut url)?;
    Ok(url)
}

fn host_and_port(address: &str, env: Option<Environment<'_>>) -> Result<(String, u16), UrlError> {
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(UrlError::Ipv6)?;
        let host = decode(host, env)?;
        host.parse::<Ipv6Addr>().map_err(|_| UrlError::Ipv6)?;
        let port = match port {
            "" => None,
            port => Some(port.strip_prefix(':').ok_or(UrlError::Port)?),
        };
        (host, port)
    } else {
        let (host, port) = match address.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err(UrlError::Brackets),
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        };
        let host = decode(host, env)?;
        // An address from a variable needs no brackets.
        if host.parse::<Ipv6Addr>().is_err() {
            check_host(&host)?;
        }
        (host, port)
    };
    let port = match port {
        Some(port) => decode(port, env)?,
        None => return Ok((host, PORT_DEFAULT)),
    };
    match units::number(&port).and_then(|port| u16::try_from(port).ok()) {
        Some(port) if port > 0 => Ok((host, port)),
        _ => Err(UrlError::Port),
    }
}

fn check_host(host: &str) -> Result<(), UrlError> {
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    // Underscores aren't in the standard, but in the names of many container networks.
    let plain = |char: char| char.is_alphanumeric() || "-._".contains(char);
    if host.chars().all(plain) {
        Ok(())
    } else {
        Err(UrlError::Host)
    }
}

fn parameters(tail: &str, env: Option<Environment<'_>>, url: &mut Url) -> Result<(), UrlError> {
    let (tail, fragment) = tail
        .split_once('#')
        .map_or((tail, false), |(tail, _)| (tail, true));
    if fragment {
        return Err(UrlError::Fragment);
    }
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    if !matches!(path, "" | "/") {
        return Err(UrlError::Path);
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').ok_or(UrlError::Parameter)?;
        let value = decode(value, env)?;
        match name {
            "ssl-mode" if url.tls.is_some() => return Err(UrlError::Twice { name: "ssl-mode" }),
            "ssl-ca" if url.tls_ca.is_some() => return Err(UrlError::Twice { name: "ssl-ca" }),
            "ssl-mode" => url.tls = Some(value.parse()?),
            "ssl-ca" => url.tls_ca = Some(value),
            _ => return Err(UrlError::Parameter),
        }
    }
    Ok(())
}

/// Percent-decodes what is written and puts the variables' values in as they are.
fn decode(part: &str, env: Option<Environment<'_>>) -> Result<String, UrlError> {
    let mut out = Vec::with_capacity(part.len());
    match env {
        None => percent_decode(part, &mut out)?,
        Some(env) => {
            for piece in template::pieces(part)? {
                match piece {
                    Piece::Literal(text) => percent_decode(text, &mut out)?,
                    Piece::Variable(name) => {
                        out.extend_from_slice(template::variable(name, env)?.as_bytes());
                    }
                }
            }
        }
    }
    String::from_utf8(out).map_err(|_| UrlError::Utf8)
}

fn percent_decode(text: &str, out: &mut Vec<u8>) -> Result<(), UrlError> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit(), digit());
        let value = high
            .zip(low)
            .and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        out.push(value.ok_or(UrlError::Percent)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Secret;
    use super::*;

    /// A password with everything that has a meaning in a URL, in TOML or here.
    const NASTY: &str = "p:@/?#%41[]${HOST}$$&=\"'\\\n é";

    fn env(name: &str) -> Option<String> {
        let value = match name {
            "NASTY" => NASTY,
            "HOST" => "db.example.org",
            "PORT" => "3307",
            "SIX" => "fe80::1",
            "URL" => "mysql://u:%24{HOST}@h:1/",
            _ => return None,
        };
        Some(value.into())
    }

    fn url(host: &str, port: u16, user: &str, password: Option<&str>) -> Url {
        let (host, user) = (host.into(), user.into());
        Url {
            host,
            port,
            user,
            password: password.map(Secret::new),
            tls: None,
            tls_ca: None,
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        for (raw, expected) in [
            ("mysql://u@h", url("h", 3306, "u", None)),
            ("mysql://u:@h/", url("h", 3306, "u", Some(""))),
            (
                "mysql://u:p@127.0.0.1:3307/",
                url("127.0.0.1", 3307, "u", Some("p")),
            ),
            ("mysql://u:p:q@h", url("h", 3306, "u", Some("p:q"))),
            ("mysql://u:p@q@h", url("h", 3306, "u", Some("p@q"))),
            (
                "mysql://a%40b:%2F%c3%A9%25@h",
                url("h", 3306, "a@b", Some("/é%")),
            ),
            ("mysql://u@[::1]", url("::1", 3306, "u", None)),
            (
                "mysql://u:p@[2001:db8::7]:33",
                url("2001:db8::7", 33, "u", Some("p")),
            ),
            (
                "mysql://u:${NASTY}@${HOST}:${PORT}",
                url("db.example.org", 3307, "u", Some(NASTY)),
            ),
            (
                "mysql://u:x${NASTY}$$%24@h",
                url("h", 3306, "u", Some(&format!("x{NASTY}$$"))),
            ),
            ("mysql://u@${SIX}:33", url("fe80::1", 33, "u", None)),
            ("${URL}", url("h", 1, "u", Some("${HOST}"))),
        ] {
            assert_eq!(parse(raw, &env), Ok(expected), "{raw}");
        }
        let url = parse("mysql://u@h/?ssl-mode=VERIFY_CA&ssl-ca=a%20b.pem&", &env).unwrap();
        assert_eq!(
            (url.tls, url.tls_ca),
            (Some(TlsMode::VerifyCa), Some("a b.pem".into()))
        );
    }

    #[test]
    fn bad_urls_are_refused() {
        use UrlError as E;
        for (raw, error) in [
            ("", E::Form),
            ("u:p@h:3306", E::Form),
            ("postgres://u:p@h", E::Scheme { scheme: "postgres" }),
            ("hunter2://u:p@h", E::UnknownScheme),
            ("mysql://h:3306", E::NoUser),
            ("mysql://:p@h", E::NoUser),
            ("mysql://u:p/q@h", E::Unencoded),
            ("mysql://u:p@", E::NoHost),
            ("mysql://u:p@:3306", E::NoHost),
            ("mysql://u:p@a b", E::Host),
            ("mysql://u:p@${NASTY}", E::Host),
            ("mysql://u:p@[h]", E::Ipv6),
            ("mysql://u:p@[::1", E::Ipv6),
            ("mysql://u:p@::1", E::Brackets),
            ("mysql://u:p@h:", E::Port),
            ("mysql://u:p@h:0", E::Port),
            ("mysql://u:p@h:65536", E::Port),
            ("mysql://u:p@h:1KiB", E::Port),
            ("mysql://u:p@[::1]33", E::Port),
            ("mysql://u:p@h/shop", E::Path),
            ("mysql://u:p@h/#x", E::Fragment),
            ("mysql://u:p@h?ssl", E::Parameter),
            ("mysql://u:p@h/?sslmode=required", E::Parameter),
            (
                "mysql://u:p@h/?ssl-ca=a&ssl-ca=b",
                E::Twice { name: "ssl-ca" },
            ),
            ("mysql://u:p@h/?ssl-mode=on", E::Tls(TlsModeParseError)),
            ("mysql://u:50%@h", E::Percent),
            ("mysql://u:%+1@h", E::Percent),
            ("mysql://u:%ff@h", E::Utf8),
            (
                "mysql://u:${NONE}@h",
                E::Template(TemplateError::Missing {
                    name: "NONE".into(),
                }),
            ),
        ] {
            assert_eq!(parse(raw, &env), Err(error), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics_nor_leaks(tail in "[a-z:@/?#%\\[\\]${}&=0-9 é]{0,40}") {
            let raw = format!("mysql://u:hunter2{tail}");
            let shown = match parse(&raw, &env) {
                Ok(url) => format!("{:?}", url.password),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains("hunter2"), "{}", shown);
        }
    }
}

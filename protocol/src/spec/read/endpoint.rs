//! How a table of the file names a server: `url`, `password`, `tls`, `tls_ca`.

use std::path::PathBuf;

use super::fields::TLS_CA_NEXT;
use crate::spec::document::{Document, Raw, Section};
use crate::spec::{Endpoint, Secret, TlsMode, read_bounded, url};

/// The most bytes of a secret's file: beyond any password, and a wrong path is refused.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A table's `url`, `password`, `tls` and `tls_ca`. What the URL can say too is said once only.
pub(super) fn endpoint(table: &Section<'_>) -> Option<Endpoint> {
    let document = table.document;
    table.require("url");
    let password = table.raw("password").and_then(|raw| secret(document, raw));
    let tls = table.choice("tls", &TlsMode::NAMES);
    let tls_ca = table.text("tls_ca").map(|text| text.value);
    let raw = table.raw("url")?;
    let url = match url::parse(raw.text, document.env) {
        Ok(url) => url,
        // A part that is a variable can't be judged without it; one that is wrong without it is.
        Err(_) if document.unknown(raw.text) => return Some(unknown(table)),
        Err(error) => {
            document.report(&raw.place, error.to_string());
            return None;
        }
    };
    let in_url = [
        ("password", url.password.is_some()),
        ("tls", url.tls.is_some()),
        ("tls_ca", url.tls_ca.is_some()),
    ];
    for (key, _) in in_url
        .into_iter()
        .filter(|(key, in_url)| *in_url && table.has(key))
    {
        document.report(
            &table.place_of(key),
            "given here and in url; remove one of them",
        );
    }
    let (explicit, tls_ca) = (url.tls.or(tls), url.tls_ca.or(tls_ca));
    if tls_ca.as_deref() == Some("") {
        let message = format!("the path is empty; {TLS_CA_NEXT}");
        document.report(&table.place_of("tls_ca"), message);
    }
    // As in the mysql client: authorities without a mode are meant to be used.
    let default = if tls_ca.is_some() {
        TlsMode::VerifyCa
    } else {
        TlsMode::Preferred
    };
    let tls = explicit.unwrap_or(default);
    let place = table.place_of(if table.has("tls") { "tls" } else { "url" });
    if tls.verifies() && tls_ca.is_none() {
        let message = format!("{tls} needs the certificate authorities to trust; {TLS_CA_NEXT}");
        document.report(&place, message);
    }
    if !tls.verifies() && tls_ca.is_some() {
        let message = format!(
            "{tls} verifies nothing, so the certificate authorities would not be looked at; \
             choose verify-ca or verify-identity, or remove them"
        );
        document.report(&place, message);
    }
    Some(Endpoint {
        host: url.host,
        port: url.port,
        user: url.user,
        password: url.password.or(password).unwrap_or_default(),
        tls,
        tls_ca: tls_ca.map(|file| beside(document, &file)),
    })
}

/// The endpoint of a URL whose variables aren't known.
fn unknown(table: &Section<'_>) -> Endpoint {
    Endpoint {
        // Its own for each table: no host is the same as another.
        host: format!("unknown-{}", table.place.line),
        port: 0,
        user: String::new(),
        password: Secret::default(),
        tls: TlsMode::default(),
        tls_ca: None,
    }
}

/// A secret as written, from a variable, or from a file without its last newline.
fn secret(document: &Document<'_>, raw: Raw<'_>) -> Option<Secret> {
    // Looked for before variables are replaced: a secret may begin so by chance.
    let Some(file) = raw.text.strip_prefix("file:") else {
        return document.resolve(raw).map(|text| Secret::new(text.value));
    };
    let file = document.resolve(Raw {
        place: raw.place,
        text: file,
    })?;
    if document.blind {
        return Some(Secret::default());
    }
    let trouble = match read_bounded(&beside(document, &file.value), SECRET_BYTES_MAX) {
        Ok(text) => {
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if !text.is_empty() {
                return Some(Secret::new(text));
            }
            "it is empty".into()
        }
        Err(error) => error.to_string(),
    };
    let message = format!(
        "can't take the secret from the file \"{}\" ({trouble}); check its path, permissions and \
         content",
        file.raw.escape_debug(),
    );
    document.report(&file.place, message);
    None
}

/// Relative paths are relative to the pipeline file, wherever the process was started.
fn beside(document: &Document<'_>, file: &str) -> PathBuf {
    document
        .path
        .parent()
        .map_or_else(|| file.into(), |directory| directory.join(file))
}

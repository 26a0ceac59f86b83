//! Logins: both ways of caching_sha2_password, with and without TLS, and who is refused.

use mysql_async::prelude::Queryable;
use towpath_core::endpoint::{connect, sql_opts};
use towpath_core::source::{DumpFrom, EventStream, Retry, SourceError};
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::{Endpoint, TlsMode};
use towpath_testing::MysqlServer;

use crate::support::{endpoint, options, run};

async fn log_in(endpoint: &Endpoint) -> Result<EventStream, SourceError> {
    let mut stream =
        EventStream::open(endpoint, &options(), DumpFrom::Gtid(&GtidSet::new())).await?;
    stream.next().await?;
    Ok(stream)
}

#[tokio::test]
async fn every_way_to_log_in_and_to_be_refused() {
    let server = MysqlServer::builder().start().await.unwrap();
    let port = server.port();
    let mut root = server.conn().await.unwrap();
    run(
        &mut root,
        &[
            "CREATE USER nopass IDENTIFIED BY ''",
            "GRANT REPLICATION SLAVE ON *.* TO nopass",
        ],
    )
    .await;
    // A cold cache needs the whole password: by RSA in plain text, as it is over TLS. The second
    // login of each is the fast path.
    for tls in [TlsMode::Disabled, TlsMode::Required, TlsMode::Preferred] {
        run(&mut root, &["FLUSH PRIVILEGES"]).await;
        for _ in 0..2 {
            let mut stream = log_in(&endpoint(port, "repl", "repl", tls)).await.unwrap();
            assert!(
                stream
                    .server_version()
                    .starts_with(server.programs().version().split('-').next().unwrap())
            );
            stream.next().await.unwrap();
        }
    }
    log_in(&endpoint(port, "nopass", "", TlsMode::Disabled))
        .await
        .unwrap();

    for tls in [TlsMode::Disabled, TlsMode::Required] {
        let error = log_in(&endpoint(port, "repl", "wrong", tls))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, SourceError::AccessDenied { user, .. } if user == "repl"),
            "{error}"
        );
        assert_eq!(error.retry().0, Retry::Stop);
        assert!(
            !error.to_string().contains("wrong"),
            "the password is in: {error}"
        );
    }
    // For a user that doesn't exist MySQL asks for any plugin, so as not to tell.
    let error = log_in(&endpoint(port, "nobody", "x", TlsMode::Disabled))
        .await
        .unwrap_err();
    assert_eq!(error.retry().0, Retry::Stop, "{error}");
    assert!(error.to_string().contains("check"), "{error}");

    run(&mut root, &["CREATE USER reader IDENTIFIED BY 'reader'"]).await;
    let error = log_in(&endpoint(port, "reader", "reader", TlsMode::Disabled))
        .await
        .unwrap_err();
    assert!(matches!(error, SourceError::Privilege { .. }), "{error}");
    assert!(
        error.to_string().contains("GRANT REPLICATION SLAVE"),
        "{error}"
    );
}

#[tokio::test]
async fn tls_is_used_and_verified_as_the_endpoint_says() {
    let server = MysqlServer::builder().start().await.unwrap();
    // MySQL makes its own authority and a certificate that names no host.
    let with = |tls, ca: Option<std::path::PathBuf>| Endpoint {
        tls_ca: ca,
        ..endpoint(server.port(), "repl", "repl", tls)
    };
    for (tls, is_encrypted) in [
        (TlsMode::Disabled, false),
        (TlsMode::Preferred, true),
        (TlsMode::Required, true),
    ] {
        let mut conn = connect(sql_opts(&with(tls, None)).unwrap(), tls)
            .await
            .unwrap();
        let cipher: Option<(String, String)> = conn
            .query_first("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
            .await
            .unwrap();
        assert_eq!(!cipher.unwrap().1.is_empty(), is_encrypted, "{tls:?}");
    }
    let right = server.datadir().join("ca.pem");
    log_in(&with(TlsMode::VerifyCa, Some(right.clone())))
        .await
        .unwrap();

    let error = log_in(&with(TlsMode::VerifyIdentity, Some(right)))
        .await
        .unwrap_err();
    assert!(matches!(error, SourceError::Tls { .. }), "{error}");
    assert_eq!(error.retry().0, Retry::Stop);

    // Another server's authority: the same name, another key.
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/source/other_ca.pem");
    let error = log_in(&with(TlsMode::VerifyCa, Some(other.into())))
        .await
        .unwrap_err();
    assert!(matches!(error, SourceError::Tls { .. }), "{error}");
    assert!(error.to_string().contains("tls_ca"), "{error}");

    for (ca, expected) in [
        (None, "tls_ca is not set"),
        (Some("/nonexistent/ca.pem".into()), "No such file"),
        (Some(server.datadir().join("auto.cnf")), "no certificate"),
    ] {
        let error = log_in(&with(TlsMode::VerifyCa, ca)).await.unwrap_err();
        assert!(matches!(error, SourceError::TlsConfig { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_plain_text_will_do() {
    let server = MysqlServer::builder()
        .option("tls-version", "")
        .start()
        .await
        .unwrap();
    let error = log_in(&endpoint(server.port(), "repl", "repl", TlsMode::Required))
        .await
        .unwrap_err();
    assert!(matches!(error, SourceError::NoTls), "{error}");
    log_in(&endpoint(server.port(), "repl", "repl", TlsMode::Preferred))
        .await
        .unwrap();

    let preferred = endpoint(server.port(), "repl", "repl", TlsMode::Preferred);
    let mut conn = connect(sql_opts(&preferred).unwrap(), preferred.tls)
        .await
        .unwrap();
    conn.ping().await.unwrap();
    let required = Endpoint {
        tls: TlsMode::Required,
        ..preferred
    };
    assert!(
        connect(sql_opts(&required).unwrap(), required.tls)
            .await
            .is_err()
    );
}

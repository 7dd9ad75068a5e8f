//! Which host reaches which tenant, and what every other host gets.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Reply, Street};

/// The example with one row per tenant that says whose it is.
async fn street() -> Street {
    let street = Street::example().await;
    let database = street.superuser().await;
    database
        .batch_execute(
            "INSERT INTO cliente.mylist (text) VALUES ('row of cliente');
             INSERT INTO cliente2.mylist (text) VALUES ('row of cliente2')",
        )
        .await
        .unwrap();
    street
}

/// `GET path` with these header lines and no others.
async fn get_with(street: &Street, target: &str, lines: &[&[u8]]) -> Reply {
    let mut request = format!("GET {target} HTTP/1.1\r\nConnection: close\r\n").into_bytes();
    for line in lines {
        request.extend_from_slice(line);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    street.raw(&request).await
}

async fn get_as(street: &Street, host: &[u8]) -> Reply {
    get_with(street, "/api/mylist?select=text", &[&[b"Host: ", host].concat()]).await
}

#[track_caller]
fn is_of(tenant: &str, reply: &Reply) {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.body, format!(r#"[{{"text":"row of {tenant}"}}]"#), "{reply:?}");
}

/// 400, closed, and nothing of any tenant.
#[track_caller]
fn is_refused(reply: &Reply, code: &str) {
    assert_eq!(reply.status, 400, "{reply:?}");
    assert_eq!(reply.code(), code, "{reply:?}");
    assert_eq!(reply.header("connection"), Some("close"), "{reply:?}");
}

#[track_caller]
fn is_unknown(reply: &Reply) {
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (404, "unknown_host"),
        "{reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_spelling_of_a_host_is_one_tenant() {
    let street = street().await;
    let port = street.edge().address().port();
    for host in [
        "cliente.todo.local".to_owned(),
        "cliente.localhost".to_owned(),
        "CLIENTE.Todo.Local".to_owned(),
        "cliente.todo.local.".to_owned(),
        format!("cliente.todo.local:{port}"),
        format!("Cliente.Localhost.:{port}"),
    ] {
        is_of("cliente", &get_as(&street, host.as_bytes()).await);
    }
    is_of("cliente2", &get_as(&street, b"cliente2.todo.local").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_missing_doubled_or_malformed_is_400() {
    let street = street().await;
    // Case 1.
    is_refused(&get_with(&street, "/api/mylist", &[]).await, "host_missing");
    let http_1_0 = street.raw(b"GET /api/mylist HTTP/1.0\r\n\r\n").await;
    assert_eq!((http_1_0.status, http_1_0.code().as_str()), (400, "host_missing"));
    // Case 2.
    let host = b"Host: cliente.localhost".as_slice();
    for second in [host, b"Host: cliente2.localhost"] {
        let reply = get_with(&street, "/api/mylist", &[host, second]).await;
        is_refused(&reply, "host_repeated");
    }
    // Cases 7 and 8.
    let long = "a.".repeat(150);
    for host in [
        "cliente.localhost:99999",
        "cliente.localhost:x",
        "x@cliente.localhost",
        "cliente.localhost@x",
        "cliente\tlocalhost",
        "cliente localhost",
        "cliente.localhost, cliente2.localhost",
        "cliente.localhost%00",
        "cliente..localhost",
        "cliente.localhost/",
        "",
        &long,
        "clienté.localhost",
        "\u{212a}liente.localhost",
        "cliente\u{ff0e}localhost",
    ] {
        let reply = get_as(&street, host.as_bytes()).await;
        is_refused(&reply, "host_malformed");
    }
    let nul = get_as(&street, b"cliente.localhost\0").await;
    assert_eq!(nul.status, 400, "{nul:?}");
    // What was refused has not hurt anybody.
    is_of("cliente", &get_as(&street, b"cliente.localhost").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_hosts_all_get_one_answer() {
    let street = street().await;
    let port = street.edge().address().port();
    let first = street.get("nobody.localhost", "/api/mylist").await;
    is_unknown(&first);
    for host in [
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "[::1]".to_owned(),
        format!("[::1]:{port}"),
        format!("nobody.localhost:{port}"),
        // A tenant's, but at a port that nobody listens on.
        "cliente.localhost:1".to_owned(),
        "todo.local".to_owned(),
        "x.cliente.localhost".to_owned(),
        "cliente".to_owned(),
        "cliente3.localhost".to_owned(),
        "xn--clente-4va.localhost".to_owned(),
    ] {
        for path in ["/", "/api/mylist", "/api/absent", "/admin/", "/-/style.css"] {
            let reply = street.get(&host, path).await;
            is_unknown(&reply);
            // Case 41: nothing tells two of them apart, but for the request's number and the clock.
            assert_eq!(reply.body, first.body, "{host} {path}");
            assert_eq!(names(&reply), names(&first), "{host} {path}");
            assert!(!reply.body.contains(&host), "{reply:?}");
        }
    }
}

fn names(reply: &Reply) -> BTreeSet<String> {
    let lines = reply.head.lines().skip(1);
    lines
        .filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_host_is_404_and_opens_no_connection() {
    let street = Street::example().await;
    let database = street.superuser().await;
    let backends = async || -> BTreeSet<i32> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE usename LIKE 'rowhouse%'";
        let rows = database.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let before = backends().await;
    for number in 0..20 {
        let host = format!("nobody{number}.localhost");
        for path in ["/", "/api/mylist", "/beforeidie"] {
            is_unknown(&street.get(&host, path).await);
        }
        let write = street.write_as("POST", "cliente", &host, "/api/mylist", r#"{"text":"a"}"#);
        is_unknown(&write.await);
        let after = backends().await;
        assert!(after.is_subset(&before), "{before:?} became {after:?}");
    }
    // The same statement does see the connection of a host that is somebody's.
    assert_eq!(street.get("cliente.localhost", "/api/mylist").await.status, 200);
    assert!(!backends().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_authority_chooses_the_tenant() {
    let street = street().await;
    let path = "/api/mylist?select=text";
    let host = b"Host: cliente.localhost".as_slice();
    // Case 9.
    for forwarded in [
        "X-Forwarded-Host: cliente2.localhost",
        "Forwarded: host=cliente2.localhost",
        "X-Host: cliente2.localhost",
        "X-Original-Host: cliente2.localhost",
        "X-HTTP-Host-Override: cliente2.localhost",
        "X-Forwarded-Server: cliente2.localhost",
        "X-Tenant: cliente2",
    ] {
        is_of("cliente", &get_with(&street, path, &[forwarded.as_bytes(), host]).await);
        let alone = get_with(&street, path, &[forwarded.as_bytes()]).await;
        is_refused(&alone, "host_missing");
    }
    let profile = get_with(&street, path, &[b"Accept-Profile: cliente2", host]).await;
    assert_eq!(
        (profile.status, profile.code().as_str()),
        (406, "PGRST106"),
        "{profile:?}"
    );
    // Case 4.
    for target in [
        format!("http://cliente.localhost{path}"),
        format!("http://CLIENTE.localhost.{path}"),
    ] {
        is_of("cliente", &get_with(&street, &target, &[host]).await);
    }
    // Case 3.
    for target in [
        format!("http://cliente2.localhost{path}"),
        format!("http://nobody.localhost{path}"),
        format!("http://cliente.localhost:1{path}"),
    ] {
        is_refused(&get_with(&street, &target, &[host]).await, "host_mismatch");
    }
    let both = get_with(&street, &format!("http://cliente.localhost{path}"), &[]).await;
    is_refused(&both, "host_missing");
    let user = get_with(&street, &format!("http://x@cliente.localhost{path}"), &[host]).await;
    assert_eq!(user.status, 400, "{user:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_authority_and_host_must_agree() {
    let street = street().await;
    let authority = (":authority", "cliente.localhost");
    let host = ("host", "cliente.localhost");
    let of_cliente = Http2::Answer(0x88, r#"[{"text":"row of cliente"}]"#.to_owned());
    assert_eq!(http2(&street, &[authority]).await, of_cliente);
    assert_eq!(http2(&street, &[authority, host]).await, of_cliente);
    // Case 6: a Host alone is the authority, as RFC 9113 section 8.3.1 has it.
    assert_eq!(http2(&street, &[host]).await, of_cliente);
    let twice = http2(&street, &[authority, (":authority", "cliente2.localhost")]).await;
    assert_eq!(twice, Http2::Reset(1), "PROTOCOL_ERROR");
    // Case 5.
    for headers in [
        &[authority, ("host", "cliente2.localhost")][..],
        &[authority, host, ("host", "cliente2.localhost")],
        &[],
    ] {
        match http2(&street, headers).await {
            Http2::Answer(status, body) => {
                assert_eq!(status, 0x8c, "{headers:?}: {body}");
                assert!(!body.contains("row of"), "{headers:?}: {body}");
            }
            Http2::Reset(code) => assert_eq!(code, 1, "{headers:?}"),
        }
    }
    let nobody = http2(&street, &[(":authority", "nobody.localhost")]).await;
    assert!(matches!(nobody, Http2::Answer(0x8d, _)), "{nobody:?}");
}

/// What came back on the one stream.
#[derive(Debug, Eq, PartialEq)]
enum Http2 {
    /// The first byte of the header block, and the body. 0x88, 0x8c and 0x8d are `:status` 200, 400 and 404 of HPACK's
    /// static table (RFC 7541, appendix A).
    Answer(u8, String),
    /// The stream or the connection was given up, with this error code.
    Reset(u32),
}

/// One request in frames written by hand: no client library would send most of them.
async fn http2(street: &Street, headers: &[(&str, &str)]) -> Http2 {
    let method = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/api/mylist?select=text"),
    ];
    let mut block = Vec::new();
    for (name, value) in method.iter().chain(headers) {
        // A literal that is not indexed (RFC 7541, section 6.2.2); all texts are shorter than 127 bytes.
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    request.extend_from_slice(&[0, 0, u8::try_from(block.len()).unwrap(), 1, 0x5, 0, 0, 0, 1]);
    request.extend_from_slice(&block);
    let mut stream = TcpStream::connect(street.edge().address()).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let answer = async {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.unwrap();
            let code = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
            match head[3] {
                0 => body.extend_from_slice(&payload),
                1 => status = payload[0],
                3 => return Http2::Reset(code(&payload)),
                7 => return Http2::Reset(code(&payload[4..8])),
                _ => continue,
            }
            // END_STREAM
            if head[4] & 1 == 1 {
                return Http2::Answer(status, String::from_utf8(body).unwrap());
            }
        }
    };
    timeout(Duration::from_secs(10), answer).await.unwrap()
}

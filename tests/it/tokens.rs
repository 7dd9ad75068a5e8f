//! Tokens that others sign: a tenant's own keys in a file, what they must say, and what refusals are told.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use rowhouse::edge::{Edge, Options};
use rowhouse::embedded;
use rowhouse::embedded::Postgres;
use rowhouse::migrate;
use serde_json::{Value, json};

use crate::support::{KEY, Reply, Street, TempDir, make_edge_login, over_url, raw, token, token_for};

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A tenant that signs its own tokens: its private keys, and the file of their public halves.
struct Issuer {
    rsa: EncodingKey,
    ec: EncodingKey,
    ed: EncodingKey,
    jwks: String,
}

impl Issuer {
    fn new() -> Self {
        let pairs = [&PKCS_RSA_SHA256, &PKCS_ECDSA_P256_SHA256, &PKCS_ED25519];
        let [rsa, ec, ed] = pairs.map(|kind| KeyPair::generate_for(kind).unwrap());
        let public_ed = DecodingKey::from_ed_der(ed.public_key_raw());
        let rsa = EncodingKey::from_rsa_pem(rsa.serialize_pem().as_bytes()).unwrap();
        let ec = EncodingKey::from_ec_der(ec.serialized_der());
        let ed = EncodingKey::from_ed_der(ed.serialized_der());
        let keys = [
            named("rsa", Jwk::from_encoding_key(&rsa, Algorithm::RS256).unwrap()),
            named("ec", Jwk::from_encoding_key(&ec, Algorithm::ES256).unwrap()),
            named("ed", Jwk::from_decoding_key(&public_ed, None).unwrap()),
        ];
        let jwks = json!({ "keys": keys }).to_string();
        Self { rsa, ec, ed, jwks }
    }

    fn key(&self, algorithm: Algorithm) -> &EncodingKey {
        match algorithm {
            Algorithm::ES256 => &self.ec,
            Algorithm::EdDSA => &self.ed,
            _ => &self.rsa,
        }
    }

    fn sign(&self, algorithm: Algorithm, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, self.key(algorithm)).unwrap()
    }
}

fn named(kid: &str, mut jwk: Jwk) -> Jwk {
    jwk.common.key_id = Some(kid.to_owned());
    jwk
}

/// Three tenants with keys of their own, and two that have the server's.
struct Tokens {
    street: Street,
    keys: Issuer,
    other: Issuer,
    _dir: TempDir,
}

/// 32 bytes, and the same in base64url.
const SECRET: &[u8] = b"reallyreallyreallyreallyverysafe";
const OCTETS: &str = "cmVhbGx5cmVhbGx5cmVhbGx5cmVhbGx5dmVyeXNhZmU";

const ALL: [&str; 5] = ["keys", "other", "closed", "plain", "plain2"];

impl Tokens {
    async fn start() -> Self {
        let dir = TempDir::new();
        let [keys, other] = [(); 2].map(|()| Issuer::new());
        let secret = json!({ "kty": "oct", "alg": "HS256", "k": OCTETS }).to_string();
        for (name, jwks) in [("keys", &keys.jwks), ("other", &other.jwks), ("closed", &secret)] {
            let file = dir.path().join(name);
            fs::write(&file, jwks).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        }
        let dir_name = dir.path().display();
        let tenants = format!(
            r#"
            [tenants.keys]
            hosts = ["keys.localhost"]
            jwks_file = "{dir_name}/keys"
            [tenants.other]
            hosts = ["other.localhost"]
            jwks_file = "{dir_name}/other"
            jwt_audience = "web"
            jwt_role_claim = "$.app.roles[0]"
            [tenants.closed]
            hosts = ["closed.localhost"]
            jwks_file = "{dir_name}/closed"
            anonymous = "none"
            [tenants.plain]
            hosts = ["plain.localhost"]
            [tenants.plain2]
            hosts = ["plain2.localhost"]
            jwt_audience = "web"
            "#
        );
        let street = Street::start("", &tenants).await;
        let views: String = ALL
            .map(|tenant| {
                format!(
                    "CREATE VIEW {tenant}.whoami AS SELECT current_setting('request.jwt.claims', true) AS claims,
                         current_user::text AS role;
                     ALTER VIEW {tenant}.whoami OWNER TO rowhouse_{tenant}_owner;
                     GRANT SELECT ON {tenant}.whoami TO rowhouse_{tenant}_anon, rowhouse_{tenant}_user;"
                )
            })
            .concat();
        street.superuser().await.batch_execute(&views).await.unwrap();
        Self {
            street,
            keys,
            other,
            _dir: dir,
        }
    }

    /// Who SQL thinks it is when it is asked with a token.
    async fn whoami(&self, tenant: &str, token: &str) -> Reply {
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str())];
        self.street
            .send("GET", &format!("{tenant}.localhost"), "/api/whoami", &headers, "")
            .await
    }

    /// The role that such a request runs as, and the claims it sees.
    async fn seen(&self, tenant: &str, token: &str) -> (String, Value) {
        let reply = self.whoami(tenant, token).await;
        assert_eq!(reply.status, 200, "{tenant} {token}: {reply:?}");
        let row = &reply.json()[0];
        let claims = serde_json::from_str(row["claims"].as_str().unwrap()).unwrap();
        (row["role"].as_str().unwrap().to_owned(), claims)
    }

    /// That a token opens nothing there, neither to read nor to write.
    async fn is_worthless(&self, what: &str, tenant: &str, token: &str, code: &str) {
        let authorization = format!("Bearer {token}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
        ];
        let host = format!("{tenant}.localhost");
        for (method, path, body) in [
            ("GET", "/api/whoami", ""),
            ("GET", "/api/", ""),
            ("GET", "/api/beforeidie", ""),
            ("POST", "/api/mylist", r#"{"text":"forged"}"#),
        ] {
            let reply = self.street.send(method, &host, path, &headers, body).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (401, code),
                "{what} {method} {path}: {reply:?}"
            );
        }
        let row = self
            .street
            .superuser()
            .await
            .query_one(&format!("SELECT count(*) FROM {tenant}.mylist"), &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), 0, "{what}");
    }
}

/// The role of a tenant's users, for a minute.
fn user(tenant: &str) -> Value {
    json!({ "role": format!("rowhouse_{tenant}_user"), "exp": now() + 60 })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_holds_keys_of_every_kind() {
    let tokens = Tokens::start().await;
    let claims = user("keys");
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let token = tokens.keys.sign(algorithm, &claims);
        // Twice: the second time it is remembered.
        for _ in 0..2 {
            let seen = tokens.seen("keys", &token).await;
            assert_eq!(seen, ("rowhouse_keys_user".to_owned(), claims.clone()), "{algorithm:?}");
        }
        let authorization = format!("Bearer {token}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Prefer", "return=representation"),
        ];
        let written = tokens
            .street
            .send("POST", "keys.localhost", "/api/mylist", &headers, r#"{"text":"a"}"#)
            .await;
        assert_eq!(written.status, 201, "{algorithm:?}: {written:?}");
    }
    // Its key is for RS256 alone.
    for algorithm in [Algorithm::RS384, Algorithm::PS256] {
        let reply = tokens.whoami("keys", &tokens.keys.sign(algorithm, &claims)).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "PGRST301"), "{reply:?}");
    }
    // A key is found by its name, and only by that.
    for (kid, status) in [("ec", 200), ("ed", 401), ("rsa", 401), ("nobody", 401)] {
        let header = Header {
            kid: Some(kid.to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        let token = jsonwebtoken::encode(&header, &claims, &tokens.keys.ec).unwrap();
        let reply = tokens.whoami("keys", &token).await;
        assert_eq!(reply.status, status, "{kid}: {reply:?}");
    }
    // A secret in a JWK is a secret.
    let secret = EncodingKey::from_secret(SECRET);
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &user("closed"), &secret).unwrap();
    assert_eq!(tokens.seen("closed", &token).await.0, "rowhouse_closed_user");
    // Without a token a tenant with keys of its own is as open as any.
    let anonymous = tokens.street.get("keys.localhost", "/api/whoami?select=role").await;
    assert_eq!(anonymous.body, r#"[{"role":"rowhouse_keys_anon"}]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_tenant_is_worthless_at_another() {
    let tokens = Tokens::start().await;
    let both = json!({
        "role": "rowhouse_other_user", "app": { "roles": ["rowhouse_other_user"] }, "aud": ["web", "keys", "other", "plain"],
    });
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let token = tokens.keys.sign(algorithm, &both);
        for tenant in ["other", "closed", "plain", "plain2"] {
            tokens
                .is_worthless(&format!("{algorithm:?} of keys"), tenant, &token, "PGRST301")
                .await;
        }
    }
    // The server's key opens no tenant that has its own, whoever the token is for.
    for audience in ["keys", "plain"] {
        let token = token_for(audience, "rowhouse_keys_user", KEY);
        tokens.is_worthless("server's", "keys", &token, "PGRST301").await;
    }
    tokens
        .is_worthless("server's", "closed", &token("closed"), "PGRST301")
        .await;
    // Where it counts, the token names the tenant, and `jwt_audience` changes nothing about that.
    assert_eq!(tokens.seen("plain", &token("plain")).await.0, "rowhouse_plain_user");
    assert_eq!(tokens.seen("plain2", &token("plain2")).await.0, "rowhouse_plain2_user");
    tokens
        .is_worthless("of plain", "plain2", &token("plain"), "PGRST303")
        .await;
    tokens
        .is_worthless(
            "for web",
            "plain2",
            &token_for("web", "rowhouse_plain2_user", KEY),
            "PGRST303",
        )
        .await;
    // Nor does the own key make anybody somebody else's user.
    let reply = tokens
        .whoami("keys", &tokens.keys.sign(Algorithm::ES256, &user("other")))
        .await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "42501"), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_everybody_knows_of_a_key_signs_nothing() {
    let tokens = Tokens::start().await;
    let set: Value = serde_json::from_str(&tokens.keys.jwks).unwrap();
    let mut secrets = vec![tokens.keys.jwks.clone(), format!("{}\n", tokens.keys.jwks)];
    for key in set["keys"].as_array().unwrap() {
        secrets.push(key.to_string());
        secrets.extend(
            ["n", "x"]
                .iter()
                .filter_map(|member| Some(key[*member].as_str()?.to_owned())),
        );
    }
    assert_eq!(secrets.len(), 8);
    for secret in secrets {
        let key = EncodingKey::from_secret(secret.as_bytes());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &user("keys"), &key).unwrap();
        tokens.is_worthless(&secret, "keys", &token, "PGRST301").await;
    }
    let token = jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        &user("closed"),
        &EncodingKey::from_secret(OCTETS.as_bytes()),
    );
    tokens
        .is_worthless("base64", "closed", &token.unwrap(), "PGRST301")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_stands_where_the_tenant_says() {
    let tokens = Tokens::start().await;
    let signed = |claims: &Value| tokens.other.sign(Algorithm::ES256, claims);
    let deep = json!({ "app": { "roles": ["rowhouse_other_user", "x"] }, "sub": "mia" });
    // SQL finds the role in its usual place as well.
    let mut with_role = deep.clone();
    with_role["role"] = json!("rowhouse_other_user");
    let expected = ("rowhouse_other_user".to_owned(), with_role.clone());
    assert_eq!(tokens.seen("other", &signed(&deep)).await, expected);
    // What stands there otherwise is not the role.
    let mut misleading = deep.clone();
    misleading["role"] = json!("rowhouse_other_anon");
    assert_eq!(tokens.seen("other", &signed(&misleading)).await, expected);
    for nowhere in [
        json!({ "role": "rowhouse_other_user" }),
        json!({ "app": { "roles": [] } }),
        json!({ "app": { "roles": "rowhouse_other_user" } }),
        json!({ "app": { "roles": { "0": "rowhouse_other_user" } } }),
        json!({ "app": { "roles": [1, "rowhouse_other_user"] } }),
        json!({ "app": null }),
    ] {
        let mut claims = nowhere.clone();
        claims["role"] = json!("rowhouse_other_anon");
        let expected = ("rowhouse_other_anon".to_owned(), claims);
        assert_eq!(tokens.seen("other", &signed(&nowhere)).await, expected, "{nowhere}");
    }
    for foreign in ["rowhouse_keys_user", "postgres", ""] {
        let reply = tokens
            .whoami("other", &signed(&json!({ "app": { "roles": [foreign] } })))
            .await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "42501"),
            "{foreign:?}: {reply:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audience_is_the_tenants() {
    let tokens = Tokens::start().await;
    let with_aud = |aud: Value| {
        let claims = json!({ "app": { "roles": ["rowhouse_other_user"] }, "aud": aud });
        tokens.other.sign(Algorithm::RS256, &claims)
    };
    for aud in [json!(null), json!("web"), json!(["app", "web"])] {
        let (role, claims) = tokens.seen("other", &with_aud(aud.clone())).await;
        assert_eq!((role.as_str(), &claims["aud"]), ("rowhouse_other_user", &aud));
    }
    for aud in [json!("other"), json!("Web"), json!(["app"])] {
        tokens
            .is_worthless(&aud.to_string(), "other", &with_aud(aud.clone()), "PGRST303")
            .await;
    }
    // Where no audience is asked for, any will do.
    let claims = json!({ "role": "rowhouse_keys_user", "aud": "anybody" });
    let seen = tokens.seen("keys", &tokens.keys.sign(Algorithm::EdDSA, &claims)).await;
    assert_eq!(seen, ("rowhouse_keys_user".to_owned(), claims));
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_reach_sql_with_all_their_digits() {
    let tokens = Tokens::start().await;
    let claims = json!({
        "role": "rowhouse_keys_user", "sub": "o'brien \"\\ ☕\u{1}", "big": u64::MAX, "app": { "a": [null, true, -1.5] },
        "role ": "x", "": {},
    });
    let token = tokens.keys.sign(Algorithm::ES256, &claims);
    assert_eq!(tokens.seen("keys", &token).await.1, claims);
    let text = tokens.whoami("keys", &token).await.json()[0]["claims"].clone();
    assert!(text.as_str().unwrap().contains("18446744073709551615"), "{text}");
    // Nothing of it is left for whoever comes next on the same connection.
    for _ in 0..3 {
        let nobody = tokens.street.get("keys.localhost", "/api/whoami").await.json();
        let expected = json!([{ "claims": r#"{"role":"rowhouse_keys_anon"}"#, "role": "rowhouse_keys_anon" }]);
        assert_eq!(nobody, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_was_wrong_with_the_token() {
    let tokens = Tokens::start().await;
    let signed = |claims: Value| tokens.keys.sign(Algorithm::ES256, &claims);
    let stranger = tokens.other.sign(Algorithm::ES256, &user("keys"));
    for (token, code, message) in [
        (String::new(), "PGRST301", "Empty JWT is sent in Authorization header"),
        ("a.b".to_owned(), "PGRST301", "Expected 3 parts in JWT; got 2"),
        ("a.b.c.d.e".to_owned(), "PGRST301", "Expected 3 parts in JWT; got 5"),
        ("a.b.c".to_owned(), "PGRST301", "JWT cryptographic operation failed"),
        (
            "eyJhbGciOiJub25lIn0.e30.".to_owned(),
            "PGRST301",
            "Wrong or unsupported encoding algorithm",
        ),
        (stranger, "PGRST301", "No suitable key or wrong key type"),
        (token("keys"), "PGRST301", "No suitable key or wrong key type"),
        (signed(json!([])), "PGRST303", "Parsing claims failed"),
        (signed(json!({ "role": 1 })), "PGRST303", "Parsing claims failed"),
        (signed(json!({ "exp": now() - 60 })), "PGRST303", "JWT expired"),
        (signed(json!({ "nbf": now() + 600 })), "PGRST303", "JWT not yet valid"),
        (
            signed(json!({ "iat": now() + 600 })),
            "PGRST303",
            "JWT issued at future",
        ),
        (
            signed(json!({ "exp": "soon" })),
            "PGRST303",
            "The JWT 'exp' claim must be a number",
        ),
        (
            signed(json!({ "aud": 1 })),
            "PGRST303",
            "The JWT 'aud' claim must be a string or an array of strings",
        ),
    ] {
        let reply = tokens.whoami("keys", &token).await;
        let body = reply.json();
        assert_eq!(reply.status, 401, "{token}: {reply:?}");
        assert_eq!(
            (&body["code"], &body["message"]),
            (&json!(code), &json!(message)),
            "{token}"
        );
        let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{message}\"");
        assert_eq!(reply.header("www-authenticate"), Some(challenge.as_str()), "{token}");
        assert_eq!(
            reply.header("proxy-status"),
            Some(format!("PostgREST; error={code}").as_str())
        );
    }
    let forbidden = tokens
        .whoami("other", &tokens.other.sign(Algorithm::ES256, &json!({ "aud": "x" })))
        .await;
    let challenge = r#"Bearer error="invalid_token", error_description="JWT not in audience""#;
    assert_eq!(forbidden.header("www-authenticate"), Some(challenge), "{forbidden:?}");

    // Who is asked for a token is not told that one was wrong.
    let secret = EncodingKey::from_secret(SECRET);
    let roleless = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &json!({ "sub": "mia" }), &secret).unwrap();
    for reply in [
        tokens.street.get("closed.localhost", "/api/whoami").await,
        tokens.street.get("closed.localhost", "/api/").await,
        tokens.whoami("closed", &roleless).await,
    ] {
        let body = reply.json();
        assert_eq!(reply.status, 401, "{reply:?}");
        assert_eq!(
            (&body["code"], &body["message"]),
            (&json!("PGRST302"), &json!("Anonymous access is disabled"))
        );
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{reply:?}");
    }
    // A role that is not allowed would not be with any other token.
    let reply = tokens.whoami("keys", &signed(json!({ "role": "postgres" }))).await;
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (403, None),
        "{reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_every_token_is_our_fault() {
    let dir = TempDir::new();
    let mut options = embedded::Options::new(dir.path().join("pg"));
    options.durable = false;
    let postgres = Postgres::start(options).unwrap();
    make_edge_login(&postgres).await;
    let options = Options {
        jwt_secret: None,
        ..over_url(dir.path(), &postgres, migrate::EDGE_LOGIN, "")
    };
    let edge = Edge::start(options).await.unwrap();
    let get = async |authorization: &str| {
        let request =
            format!("GET /api/mylist HTTP/1.1\r\nHost: cliente.localhost\r\nConnection: close\r\n{authorization}\r\n");
        raw(&edge, request.as_bytes()).await
    };
    assert_eq!(get("").await.status, 200);
    for token in [token("cliente"), String::new(), "a.b.c".to_owned()] {
        let reply = get(&format!("Authorization: Bearer {token}\r\n")).await;
        let body = reply.json();
        assert_eq!(reply.status, 500, "{reply:?}");
        assert_eq!(
            (&body["code"], &body["message"]),
            (&json!("PGRST300"), &json!("Server lacks JWT secret"))
        );
        // No other token would help.
        assert_eq!(reply.header("www-authenticate"), None, "{reply:?}");
    }
    assert!(edge.stop(Duration::from_secs(5)).await);
}

//! What a tenant's file may say about its data API and its keys: where it lands, and what a mistake is told.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use rowhouse::config::{Config, Dialect, FunctionName, Jwks, Live, OpenApi, Tenant, TxEnd};

use crate::support::TempDir;

/// 32 bytes, and the same in base64 and in base64url.
const KEY: &str = "0123456789abcdef0123456789abcdef";
const KEY_BASE64: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const KEY_OCTETS: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";

const UNMANAGED: &str = "managed = false\nanonymous_role = \"web_anon\"\n";

/// RFC 7515, appendix A.3.
const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

/// A configuration whose tenants are as they are written.
struct Project {
    root: PathBuf,
    _dir: TempDir,
}

impl Project {
    fn new() -> Self {
        let dir = TempDir::new();
        let project = Self {
            root: dir.path().canonicalize().unwrap(),
            _dir: dir,
        };
        project.write("config/rowhouse.toml", "[clusters.main]\nembedded = true\n");
        project
    }

    /// With the tenant x, whose keys begin in line 3.
    fn with(keys: &str) -> Self {
        let project = Self::new();
        project.write(
            "config/tenants/x.toml",
            format!("[tenants.x]\nhosts = [\"x.example.com\"]\n{keys}"),
        );
        project
    }

    /// Not readable by others, so that secrets may stand in it.
    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    }

    fn load(&self) -> Config {
        let env = |name: &str| match name {
            "KEY" => Some(KEY.to_owned()),
            "KEY_BASE64" => Some(KEY_BASE64.to_owned()),
            "SHORT_BASE64" => Some("aHVudGVyMg==".to_owned()),
            "NO_BASE64" => Some("0123456789*0123456789*0123456789*".to_owned()),
            _ => None,
        };
        Config::load(&self.root.join("config"), &env, &Live::new()).unwrap()
    }

    #[track_caller]
    fn x(&self) -> Arc<Tenant> {
        let config = self.load();
        assert_eq!(config.report().to_string(), "");
        Arc::clone(&config.tenants["x"])
    }

    /// What is wrong with the tenant x, without the paths of project and file.
    fn report(&self) -> Vec<String> {
        let (root, file) = (format!("{}/", self.root.display()), "config/tenants/x.toml:");
        let report = self.load().report().to_string();
        report
            .lines()
            .map(|line| line.replace(&root, "").replace(file, ""))
            .collect()
    }
}

/// The dialect of a tenant with these keys.
#[track_caller]
fn dialect(keys: &str) -> Dialect {
    Dialect::clone(&Project::with(keys).x().dialect)
}

#[track_caller]
fn refuses(keys: &str, expected: &[&str]) {
    assert_eq!(Project::with(keys).report(), expected, "{keys}");
}

#[test]
fn what_is_not_said_has_its_default() {
    let x = Project::with("").x();
    assert_eq!(
        *x.dialect,
        Dialect {
            pre_request: None,
            tx_end: TxEnd::Commit,
            aggregates: false,
            plan: false,
            legacy_target_names: true,
            openapi: OpenApi::FollowPrivileges,
            openapi_security: false,
            openapi_url: None,
            root_function: None,
            cors_origins: Box::default(),
            verbose_errors: true,
            server_timing: false,
            app_settings: Box::default(),
            jwt_audience: None,
            jwt_role_claim: "$.role".parse().unwrap(),
        }
    );
    assert!(x.more_schemas.is_empty() && x.shared);
    assert_eq!((&x.jwks, &x.jwt_secret), (&None, &None));
}

#[test]
fn every_option_takes_effect() {
    let written = dialect(
        r#"
        pre_request = "gate.check_request"
        tx_end = "rollback-allow-override"
        aggregates = true
        plan = true
        legacy_target_names = false
        openapi = "ignore-privileges"
        openapi_security = true
        openapi_url = "https://api.example.com/v1/"
        root_function = "welcome page"
        cors_origins = ["https://app.example.com", "http://localhost:3000"]
        verbose_errors = false
        server_timing = true
        app_settings = ["motto=a=b c", "jwt.lifetime=", "A_1=größe"]
        jwt_audience = "https://api.example.com"
        jwt_role_claim = "$.app[\"my roles\"][0]"
        "#,
    );
    let settings = [
        ("app.settings.motto", "a=b c"),
        ("app.settings.jwt.lifetime", ""),
        ("app.settings.A_1", "größe"),
    ];
    assert_eq!(
        written,
        Dialect {
            pre_request: Some(FunctionName {
                schema: Some("gate".into()),
                name: "check_request".into(),
            }),
            tx_end: TxEnd::RollbackAllowOverride,
            aggregates: true,
            plan: true,
            legacy_target_names: false,
            openapi: OpenApi::IgnorePrivileges,
            openapi_security: true,
            openapi_url: Some("https://api.example.com/v1/".into()),
            root_function: Some("welcome page".into()),
            cors_origins: ["https://app.example.com", "http://localhost:3000"]
                .into_iter()
                .map(Box::<str>::from)
                .collect(),
            verbose_errors: false,
            server_timing: true,
            app_settings: settings
                .into_iter()
                .map(|(name, value)| (Box::<str>::from(name), Box::<str>::from(value)))
                .collect(),
            jwt_audience: Some("https://api.example.com".into()),
            jwt_role_claim: "$.app[\"my roles\"][0]".parse().unwrap(),
        }
    );
}

#[test]
fn every_choice_of_a_word_is_read() {
    for (text, expected) in [
        ("commit", TxEnd::Commit),
        ("commit-allow-override", TxEnd::CommitAllowOverride),
        ("rollback", TxEnd::Rollback),
        ("rollback-allow-override", TxEnd::RollbackAllowOverride),
    ] {
        assert_eq!(dialect(&format!("tx_end = \"{text}\"\n")).tx_end, expected, "{text}");
    }
    for (text, expected) in [
        ("follow-privileges", OpenApi::FollowPrivileges),
        ("ignore-privileges", OpenApi::IgnorePrivileges),
        ("disabled", OpenApi::Disabled),
    ] {
        assert_eq!(dialect(&format!("openapi = \"{text}\"\n")).openapi, expected, "{text}");
    }
    for (text, schema, name) in [
        ("check", None, "check"),
        ("api.check", Some("api"), "check"),
        ("\"Check It\"", None, "Check It"),
        ("\"My Api\".\"Check It\"", Some("My Api"), "Check It"),
    ] {
        let expected = FunctionName {
            schema: schema.map(Into::into),
            name: name.into(),
        };
        assert_eq!(
            dialect(&format!("pre_request = '{text}'\n")).pre_request,
            Some(expected),
            "{text}"
        );
    }
}

#[test]
fn tenants_without_options_share_one() {
    let project = Project::new();
    let tenant = |id: &str, keys: &str| format!("[tenants.{id}]\nhosts = [\"{id}.example.com\"]\n{keys}\n");
    project.write(
        "config/tenants/a.toml",
        [
            tenant("a1", ""),
            tenant("a2", "max_rows = 5"),
            // Saying the default is saying nothing.
            tenant("a3", "tx_end = \"commit\"\nverbose_errors = true\napp_settings = []"),
            tenant("own1", "aggregates = true"),
        ]
        .concat(),
    );
    project.write(
        "config/tenants/b.toml",
        [tenant("b1", ""), tenant("own2", "jwt_audience = \"web\"")].concat(),
    );
    let config = project.load();
    assert_eq!(config.report().to_string(), "");
    let of = |id: &str| &config.tenants[id].dialect;
    for id in ["a2", "a3", "b1"] {
        assert!(Arc::ptr_eq(of("a1"), of(id)), "{id}");
    }
    assert_eq!(**of("a1"), Dialect::default());
    for id in ["own1", "own2"] {
        assert!(!Arc::ptr_eq(of("a1"), of(id)), "{id}");
        assert_ne!(of("a1"), of(id));
    }
    // A tenant whose options change is another one, so that a reload serves it anew.
    let changed = Project::with("plan = true\n").x();
    assert_ne!(Project::with("").x(), changed);
    assert_ne!(Project::with("plan = true\naggregates = true\n").x(), changed);
}

#[test]
fn a_flag_is_true_or_false() {
    for key in [
        "aggregates",
        "plan",
        "legacy_target_names",
        "openapi_security",
        "verbose_errors",
        "server_timing",
        "shared",
    ] {
        let column = key.len() + 4;
        for (value, what) in [("\"yes\"", "a text"), ("1", "a number"), ("[true]", "a list")] {
            refuses(
                &format!("{key} = {value}\n"),
                &[&format!("3:{column}: {what} does not belong here: write true or false")],
            );
        }
    }
}

#[test]
fn words_that_are_unknown_are_refused_with_those_that_are_known() {
    let tx_end = "write \"commit\", \"commit-allow-override\", \"rollback\" or \"rollback-allow-override\"";
    refuses(
        "tx_end = \"comit\"\n",
        &[&format!("3:10: \"comit\" is unknown: {tx_end}")],
    );
    refuses(
        "tx_end = \"Commit\"\n",
        &[&format!("3:10: \"Commit\" is unknown: {tx_end}")],
    );
    refuses(
        "tx_end = true\n",
        &[&format!("3:10: true or false does not belong here: {tx_end}")],
    );
    let openapi = "write \"follow-privileges\", \"ignore-privileges\" or \"disabled\"";
    refuses("openapi = \"on\"\n", &[&format!("3:11: \"on\" is unknown: {openapi}")]);
    refuses(
        "openapi = false\n",
        &[&format!("3:11: true or false does not belong here: {openapi}")],
    );
    refuses(
        "jwt_audiense = \"x\"\napp_setting = []\n",
        &[
            "3:1: unknown key `jwt_audiense`: did you mean `jwt_audience`?",
            "4:1: unknown key `app_setting`: did you mean `app_settings`?",
        ],
    );
}

#[test]
fn texts_and_names_are_not_empty() {
    let function = "write the name of a function of the tenant's schema, such as \"root\"";
    for (key, write) in [("root_function", function), ("jwt_audience", "write a text in quotes")] {
        let column = key.len() + 4;
        refuses(
            &format!("{key} = \"\"\n"),
            &[&format!("3:{column}: the text is empty: {write}")],
        );
        refuses(
            &format!("{key} = \"a\\u0000b\"\n"),
            &[&format!("3:{column}: the text contains a NUL character: {write}")],
        );
        refuses(
            &format!("{key} = [\"a\"]\n"),
            &[&format!("3:{column}: a list does not belong here: {write}")],
        );
    }
    refuses(
        "root_function = \"api.root\"\n",
        &[&format!(
            "3:17: \"api.root\" names a schema, which is not looked at: {function}"
        )],
    );
    let write = "write the name of a function, such as \"check_request\" or \"api.check_request\"";
    refuses("pre_request = \"\"\n", &[&format!("3:15: the text is empty: {write}")]);
    refuses(
        "pre_request = 5\n",
        &[&format!("3:15: a number does not belong here: {write}")],
    );
}

#[test]
fn addresses_and_origins_are_whole() {
    let write = "write an address such as \"https://api.example.com/\"";
    for address in [
        "api.example.com",
        "/api/",
        "ftp://api.example.com/",
        "http://",
        "https://a b/",
    ] {
        refuses(
            &format!("openapi_url = \"{address}\"\n"),
            &[&format!("3:15: {address:?} is no address of an API: {write}")],
        );
    }
    refuses(
        "openapi_url = 5\n",
        &[&format!("3:15: a number does not belong here: {write}")],
    );

    let write = "write an origin such as \"https://app.example.com\", without a path";
    refuses(
        "cors_origins = [\"https://ok.example.com\", \"*\", \"https://a.example.com/\", \"null\", 5]\n",
        &[
            &format!("3:43: \"*\" is no address of an API: {write}"),
            &format!("3:48: \"https://a.example.com/\" is no origin: {write}"),
            &format!("3:74: \"null\" is no address of an API: {write}"),
            &format!("3:82: a number does not belong here: {write}"),
        ],
    );
    refuses(
        "cors_origins = \"https://a.example.com\"\n",
        &["3:16: expected a list: write it in square brackets, such as [\"a\", \"b\"]"],
    );
}

#[test]
fn settings_have_a_name_and_a_value() {
    let write = "write a name and a value, such as \"app_host=localhost\"";
    refuses(
        "app_settings = [\n  \"a=1\",\n  \"a\", \"=1\",\n  \"a b=1\",\n  \"größe=1\",\n  \"a'=1\",\n  5,\n]\n",
        &[
            &format!("5:3: this is no setting: {write}"),
            &format!("5:8: this is no setting: {write}"),
            &format!("6:3: this is no setting: {write}"),
            &format!("7:3: this is no setting: {write}"),
            &format!("8:3: this is no setting: {write}"),
            &format!("9:3: a number does not belong here: {write}"),
        ],
    );
    refuses(
        "app_settings = { a = 1 }\n",
        &["3:16: expected a list: write it in square brackets, such as [\"a\", \"b\"]"],
    );
}

#[test]
fn schemas_are_listed_in_place_of_one() {
    let x = Project::with(&format!("{UNMANAGED}schemas = [\"v2\", \"v1\", \"Größe 3\"]\n")).x();
    assert_eq!(x.schema.as_str(), "v2");
    let more: Vec<&str> = x.more_schemas.iter().map(|schema| schema.as_str()).collect();
    assert_eq!(more, ["v1", "Größe 3"]);
    assert!(!x.shared && !x.is_operator());

    refuses(
        "schemas = [\"v1\", \"v2\"]\n",
        &["3:11: `schemas` is for schemas that others own: write schema = \"…\", or managed = false"],
    );
    refuses(
        &format!("{UNMANAGED}schemas = []\n"),
        &["5:11: the list is empty: write schemas = [\"v1\", \"v2\"], or remove it"],
    );
    refuses(
        &format!("{UNMANAGED}schema = \"v0\"\nschemas = [\"v1\"]\n"),
        &["6:11: `schemas` excludes `schema`: remove one of them"],
    );
    refuses(
        &format!("{UNMANAGED}schemas = [\"v1\"]\nschema = \"v0\"\n"),
        &["6:10: `schema` excludes `schemas`: remove one of them"],
    );
    refuses(
        &format!("{UNMANAGED}schemas = [\"v1\", 5]\n"),
        &["5:18: a number does not belong here: write the name of a schema, 1 to 63 bytes, such as \"public\""],
    );
    refuses(
        &format!("{UNMANAGED}schemas = [\"rowhouse\"]\n"),
        &["5:12: schema \"rowhouse\" is kept for the edge's own tables: write another"],
    );
}

#[test]
fn shared_tables_are_read_where_the_tenant_says() {
    assert!(Project::with("shared = true\n").x().shared);
    assert!(!Project::with(UNMANAGED).x().shared);
    assert!(Project::with(&format!("{UNMANAGED}shared = true\n")).x().shared);
    assert!(!Project::with(&format!("{UNMANAGED}shared = false\n")).x().shared);
    refuses(
        "shared = false\n",
        &["3:10: a managed tenant always reads the shared tables: remove it, or write managed = false"],
    );
}

/// A project whose tenant has `keys` in the file `keys/jwks.json`.
fn with_jwks(keys: impl AsRef<[u8]>) -> Project {
    let project = Project::with("jwks_file = \"keys/jwks.json\"\n");
    project.write("keys/jwks.json", keys);
    project
}

#[test]
fn keys_of_tokens_are_read_from_their_file() {
    let secret = format!(r#"{{"kty":"oct","k":"{KEY_OCTETS}"}}"#);
    let rsa = r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#;
    let ed = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    for good in [
        EC.to_owned(),
        format!("{EC}\n"),
        secret.clone(),
        format!(r#"{{"keys":[{EC}]}}"#),
        format!(r#"{{"keys":[{rsa},{EC},{ed},{secret},{{"kty":"future"}}]}}"#),
    ] {
        let x = with_jwks(&good).x();
        assert_eq!(x.jwks, Some(Jwks::parse(good.as_bytes()).unwrap()));
        assert_eq!(x.jwt_secret, None);
    }

    // What is public may be read by everybody; a secret may not.
    let project = with_jwks(EC);
    let file = project.root.join("keys/jwks.json");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert!(project.x().jwks.is_some());
    fs::write(&file, &secret).unwrap();
    let file = "keys/jwks.json";
    assert_eq!(
        project.report(),
        [format!(
            "3:13: everybody on this machine may read the secret in {file}: run chmod 640 on it"
        )]
    );
    let printed = format!("{:?}", with_jwks(&secret).load());
    assert!(!printed.contains(KEY_OCTETS) && !printed.contains(KEY), "{printed}");
}

#[test]
fn a_file_without_a_key_of_use_is_refused() {
    let no_jwk = "3:13: key file keys/jwks.json holds no JWK: write {\"keys\": […]} or one key as JSON (RFC 7517)";
    for text in [
        "",
        "hello",
        "[1]",
        "\"keys\"",
        "{\"keys\":[",
        KEY,
        "-----BEGIN PUBLIC KEY-----\n",
    ] {
        assert_eq!(with_jwks(text).report(), [no_jwk], "{text}");
    }
    let no_use = "3:13: key file keys/jwks.json holds no key that tokens can be checked with: write one of kty RSA, EC, \
                  OKP or oct";
    for text in [
        "{}",
        r#"{"keys":[]}"#,
        r#"{"keys":{}}"#,
        r#"{"kty":"future"}"#,
        r#"{"kty":"oct"}"#,
        r#"{"kty":"RSA","n":"AQAB"}"#,
        r#"{"keys":[{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}]}"#,
    ] {
        assert_eq!(with_jwks(text).report(), [no_use], "{text}");
    }
    let short = r#"{"keys":[{"kty":"oct","k":"aHVudGVyMg"}]}"#;
    let expected = "3:13: key file keys/jwks.json holds a secret of 7 bytes: HS256 needs 32 or more";
    assert_eq!(with_jwks(short).report(), [expected]);

    let permissions = "correct the path or its permissions";
    refuses(
        "jwks_file = \"keys/nowhere\"\n",
        &[&format!(
            "3:13: key file keys/nowhere cannot be read (No such file or directory (os error 2)): {permissions}"
        )],
    );
    refuses(
        "jwks_file = \"config\"\n",
        &[&format!("3:13: key file config is no regular file: {permissions}")],
    );
    assert_eq!(
        with_jwks(vec![b' '; 70_000]).report(),
        [format!(
            "3:13: key file keys/jwks.json is longer than 65536 bytes: {permissions}"
        )]
    );
    let path = "write a path in quotes, such as \"migrations/shared\"";
    refuses("jwks_file = \"\"\n", &[&format!("3:13: the path is empty: {path}")]);
    refuses(
        "jwks_file = {}\n",
        &[&format!("3:13: a table or date does not belong here: {path}")],
    );
}

#[test]
fn keys_of_tokens_are_written_out() {
    let secret = format!(r#"{{"kty":"oct","k":"{KEY_OCTETS}"}}"#);
    for good in [EC.to_owned(), format!(r#"{{"keys":[{EC},{secret}]}}"#)] {
        let x = Project::with(&format!("jwks = '{good}'\n")).x();
        assert_eq!(x.jwks, Some(Jwks::parse(good.as_bytes()).unwrap()));
        assert_eq!(x.jwt_secret, None);
    }
    refuses(
        "jwks = 'a secret that is long enough for HS256'\n",
        &["3:8: the text holds no JWK: write {\"keys\": […]} or one key as JSON (RFC 7517)"],
    );
    refuses(
        "jwks = 7\n",
        &["3:8: a number does not belong here: write a text in quotes"],
    );
    refuses(
        &format!("jwt_secret = \"{KEY}\"\njwks = '{EC}'\n"),
        &["4:8: `jwks` excludes `jwt_secret`: remove one of them"],
    );
    // What is public may be read by everybody; a secret may not.
    for (key, reports) in [(EC, 0), (&*secret, 1)] {
        let project = Project::with(&format!("jwks = '{key}'\n"));
        let file = project.root.join("config/tenants/x.toml");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(project.report().len(), reports, "{key}");
    }
}

#[test]
fn keys_come_from_one_place() {
    let project = with_jwks(EC);
    let tenant = "[tenants.x]\nhosts = [\"x.example.com\"]\n";
    let write = |keys: &str| project.write("config/tenants/x.toml", format!("{tenant}{keys}"));
    for other in ["jwt_secret_env = \"KEY\"".to_owned(), format!("jwt_secret = \"{KEY}\"")] {
        let (key, _) = other.split_once(' ').unwrap();
        write(&format!("jwks_file = \"keys/jwks.json\"\n{other}\n"));
        let column = key.len() + 4;
        assert_eq!(
            project.report(),
            [format!("4:{column}: `{key}` excludes `jwks_file`: remove one of them")]
        );
        write(&format!("{other}\njwks_file = \"keys/jwks.json\"\n"));
        assert_eq!(
            project.report(),
            [format!("4:13: `jwks_file` excludes `{key}`: remove one of them")]
        );
    }
}

#[test]
fn a_key_may_be_written_in_base64() {
    let base64 = "jwt_secret_base64 = true\n";
    let secret = |keys: &str| {
        let project = Project::with(keys);
        for (file, text) in [
            ("padded", KEY_BASE64.to_owned()),
            ("line", format!("{KEY_BASE64}\r\n")),
            ("bare", KEY_OCTETS.to_owned()),
            ("both", "-_+/".repeat(11)),
        ] {
            project.write(&format!("keys/{file}"), text);
        }
        project.x().jwt_secret.as_ref().unwrap().expose().to_vec()
    };
    assert_eq!(
        secret(&format!("jwt_secret_env = \"KEY_BASE64\"\n{base64}")),
        KEY.as_bytes()
    );
    for file in ["padded", "line", "bare"] {
        let keys = format!("jwt_secret_file = \"keys/{file}\"\n{base64}");
        assert_eq!(secret(&keys), KEY.as_bytes(), "{file}");
    }
    // Both alphabets.
    assert_eq!(
        secret(&format!("jwt_secret_file = \"keys/both\"\n{base64}")),
        [0xfb, 0xff, 0xbf].repeat(11)
    );
    // As it stands, where nothing else is said.
    let plain = "jwt_secret_env = \"KEY_BASE64\"\njwt_secret_base64 = false\n";
    assert_eq!(secret(plain), KEY_BASE64.as_bytes());

    refuses(
        &format!("jwt_secret_env = \"NO_BASE64\"\n{base64}"),
        &["3:18: the key is no base64: correct it, or remove jwt_secret_base64"],
    );
    // What counts is its length when it is decoded.
    refuses(
        &format!("jwt_secret_env = \"SHORT_BASE64\"\n{base64}"),
        &["3:18: the key has 7 bytes: HS256 needs 32 or more, such as `openssl rand -hex 32` prints"],
    );
    refuses(
        &format!("jwt_secret_env = \"KEY\"\n{base64}"),
        &["3:18: the key has 24 bytes: HS256 needs 32 or more, such as `openssl rand -hex 32` prints"],
    );
}

/// Each of these would fail at its first request, or do something else than was meant.
#[test]
fn what_would_fail_later_is_refused_now() {
    refuses(
        &format!("{UNMANAGED}schemas = [\"v1\", \"v1\"]\n"),
        &["5:18: schema \"v1\" stands twice in this list: remove one"],
    );
    refuses(
        &format!("{UNMANAGED}schemas = [\"v1\", \"rowhouse\"]\n"),
        &["5:18: schema \"rowhouse\" is kept for the edge's own tables: write another"],
    );
    refuses(
        &format!("{UNMANAGED}schemas = [\"v1\", \"pg_catalog\"]\n"),
        &["5:18: schema \"pg_catalog\" belongs to PostgreSQL itself: write another"],
    );
    refuses(
        &format!("{UNMANAGED}schemas = \"v1\"\n"),
        &["5:11: expected a list: write it in square brackets, such as [\"a\", \"b\"]"],
    );
    refuses(
        "app_settings = [\"1=a\"]\n",
        &["3:17: this is no setting: write a name and a value, such as \"app_host=localhost\""],
    );
    refuses(
        "pre_request = \"api.\"\n",
        &[
            "3:15: \"api.\" names no function: write the name of a function, such as \"check_request\" or \"api.check_request\"",
        ],
    );
    refuses(
        "jwt_role_claim = \"$..nonsense[\"\n",
        &[
            "3:18: \"$..nonsense[\": it is no path into the claims of a token: write a path such as \"$.role\" or \"$.app.roles[0]\"",
        ],
    );
    refuses(
        "cors_origins = [\"https://a.example.com?x\"]\n",
        &[
            "3:17: \"https://a.example.com?x\" is no origin: write an origin such as \"https://app.example.com\", without a path",
        ],
    );
    refuses(
        &format!("jwt_secret = \"{KEY_BASE64}\"\njwt_secret_base64 = true\n"),
        &["4:21: `jwt_secret_base64` belongs to jwt_secret_env or jwt_secret_file: remove it, or use one of them"],
    );
}

/// Everybody knows a public key: as a secret it would let everybody sign.
#[test]
fn a_public_key_is_no_secret() {
    for key in [EC, "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n"] {
        let project = Project::with("jwt_secret_file = \"keys/jwks.json\"\n");
        project.write("keys/jwks.json", key);
        assert_eq!(
            project.report(),
            [
                "3:19: this is a key of its own kind and no secret: write a JWK or JWK Set as jwks, or put it into a file and write jwks_file"
            ]
        );
    }
    let for_encryption = EC.replace("}", ",\"use\":\"enc\"}");
    assert_eq!(with_jwks(for_encryption).report().len(), 1);
}

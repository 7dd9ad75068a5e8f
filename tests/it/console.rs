//! The console as its forms and addresses use it, without a browser: who may sign in, what a cookie is worth, and that
//! whatever is done is done by the data API. What a browser makes of it is in `browser.rs`.

use std::time::Duration;

use rowhouse::migrate;
use rowhouse::users;

use crate::support::{Reply, Street, connect, until};

const CLIENTE: &str = "cliente.localhost";
const CLIENTE2: &str = "cliente2.localhost";
const ADM: &str = "adm.localhost";
const PASSWORD: &str = "correct horse";

/// The example, with a user `ana` in each tenant.
async fn street() -> Street {
    let street = Street::example().await;
    let client = connect(&street.socket_dir(), migrate::EDGE_LOGIN, migrate::EMBEDDED_DATABASE).await;
    users::create_tables(&client).await.unwrap();
    for tenant in ["adm", "cliente", "cliente2"] {
        let tenant = tenant.parse().unwrap();
        assert!(users::add(&client, &tenant, "ana", None, PASSWORD).await.unwrap());
    }
    street
}

/// A signed-in browser without a window.
struct Browser<'a> {
    street: &'a Street,
    host: &'a str,
    cookie: String,
}

impl<'a> Browser<'a> {
    async fn sign_in(street: &'a Street, host: &'a str) -> Self {
        let reply = sign_in(street, host, "ana", PASSWORD).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        let cookie = cookie(&reply);
        Self { street, host, cookie }
    }

    async fn get(&self, path: &str) -> Reply {
        self.street
            .send("GET", self.host, path, &[("Cookie", &self.cookie)], "")
            .await
    }

    /// The key that the session's forms carry.
    async fn key(&self) -> String {
        let page = self.get("/admin/account").await.body;
        let (_, rest) = page.split_once("name=\"_key\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }

    async fn post(&self, path: &str, form: &str) -> Reply {
        let form = format!("_key={}&{form}", self.key().await);
        self.post_without_key(path, &form).await
    }

    async fn post_without_key(&self, path: &str, form: &str) -> Reply {
        let headers = [
            ("Cookie", self.cookie.as_str()),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        self.street.send("POST", self.host, path, &headers, form).await
    }
}

async fn sign_in(street: &Street, host: &str, name: &str, password: &str) -> Reply {
    let form = format!("name={name}&password={}&next=", password.replace(' ', "+"));
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    street.send("POST", host, "/admin/sign-in", &headers, &form).await
}

/// What a browser sends back of `Set-Cookie`.
fn cookie(reply: &Reply) -> String {
    let set = reply.header("set-cookie").unwrap_or_default();
    set.split(';').next().unwrap_or_default().to_owned()
}

#[track_caller]
fn leads_to(reply: &Reply, to: &str) {
    assert_eq!((reply.status, reply.header("location")), (303, Some(to)), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_anything_without_signing_in() {
    let street = street().await;
    leads_to(&street.get(CLIENTE, "/admin").await, "/admin/");
    leads_to(&street.get(CLIENTE, "/admin/").await, "/admin/sign-in?next=%2Fadmin%2F");
    leads_to(
        &street.get(CLIENTE, "/admin/data/mylist?q=a").await,
        "/admin/sign-in?next=%2Fadmin%2Fdata%2Fmylist%3Fq%3Da",
    );
    for path in [
        "/admin/data/mylist/new",
        "/admin/data/mylist/bulk",
        "/admin/sign-out",
        "/admin/account/password",
    ] {
        let reply = street.send("POST", CLIENTE, path, &[], "%3Dtext=x&sure=yes").await;
        assert_eq!(reply.status, 401, "{path}: {reply:?}");
    }
    let page = street.get(CLIENTE, "/admin/sign-in").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("script-src 'self'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(page.body.contains("Sign in to cliente"), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_worth_nothing_at_another_host() {
    let street = street().await;
    let browser = Browser::sign_in(&street, CLIENTE).await;
    assert_eq!(browser.get("/admin/data/mylist").await.status, 200);
    // The same tenant by its other name is the same tenant; another tenant is not.
    for host in [CLIENTE2, ADM] {
        let stolen = Browser {
            street: &street,
            host,
            cookie: browser.cookie.clone(),
        };
        let reply = stolen.get("/admin/data/").await;
        leads_to(&reply, "/admin/sign-in?next=%2Fadmin%2Fdata%2F");
    }
    // And it is no token: the API does not even look at it.
    let write = browser
        .street
        .send(
            "POST",
            CLIENTE,
            "/api/mylist",
            &[("Cookie", &browser.cookie), ("Content-Type", "application/json")],
            r#"{"text": "by cookie"}"#,
        )
        .await;
    assert_eq!(write.status, 401, "{write:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_made_by_signing_in_and_by_nothing_else() {
    let street = street().await;
    // A cookie that somebody has planted is not taken over: signing in makes another.
    let planted = format!("rowhouse_session={}", "ab".repeat(32));
    let reply = street
        .send(
            "POST",
            CLIENTE,
            "/admin/sign-in",
            &[
                ("Cookie", &planted),
                ("Content-Type", "application/x-www-form-urlencoded"),
            ],
            "name=ana&password=correct+horse",
        )
        .await;
    assert_eq!(reply.status, 303);
    assert_ne!(cookie(&reply), planted);
    let with_planted = street
        .send("GET", CLIENTE, "/admin/data/", &[("Cookie", &planted)], "")
        .await;
    assert_eq!(with_planted.status, 303);
    let set = reply.header("set-cookie").unwrap();
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Lax") && set.contains("Path=/"),
        "{set}"
    );
    assert!(!set.contains("Domain"), "{set}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_signing_in_one_is_where_one_wanted_to_be_and_nowhere_else() {
    let street = street().await;
    for (next, to) in [
        ("/admin/data/mylist%3Fq%3Da", "/admin/data/mylist?q=a"),
        ("", "/admin/"),
        ("https://evil.example/", "/admin/"),
        ("//evil.example/", "/admin/"),
        ("/admin/%0d%0aSet-Cookie:x", "/admin/"),
        ("/admin/\\evil", "/admin/"),
        ("/admin/sign-in", "/admin/"),
    ] {
        let form = format!("name=ana&password=correct+horse&next={next}");
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        leads_to(
            &street.send("POST", CLIENTE, "/admin/sign-in", &headers, &form).await,
            to,
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_site_changes_nothing() {
    let street = street().await;
    let browser = Browser::sign_in(&street, CLIENTE).await;
    let other = Browser::sign_in(&street, CLIENTE).await;
    let key = browser.key().await;
    let forms = [
        String::from("%3Dtext=forged"),
        String::from("_key=&%3Dtext=forged"),
        // Another session's, even of the same user.
        format!("_key={}&%3Dtext=forged", other.key().await),
    ];
    for form in &forms {
        let reply = browser.post_without_key("/admin/data/mylist/new", form).await;
        assert_eq!(reply.status, 403, "{reply:?}");
    }
    // With the right key, but sent from elsewhere.
    for (header, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://cliente2.localhost"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        for path in [
            "/admin/data/mylist/new",
            "/admin/sign-in",
            "/admin/sign-out",
            "/admin/data/mylist/import",
        ] {
            let headers = [
                ("Cookie", browser.cookie.as_str()),
                ("Content-Type", "application/x-www-form-urlencoded"),
                (header, value),
            ];
            let form = format!("_key={key}&%3Dtext=forged&name=ana&password=correct+horse");
            let reply = street.send("POST", CLIENTE, path, &headers, &form).await;
            assert_eq!(reply.status, 403, "{header}: {value} {path} {reply:?}");
        }
    }
    assert_eq!(street.get(CLIENTE, "/api/mylist").await.body, "[]");
    assert_eq!(browser.get("/admin/account").await.status, 200, "still signed in");
    // Nothing is changed by following a link.
    for path in [
        "/admin/sign-out",
        "/admin/account/sign-out-everywhere",
        "/admin/data/mylist/bulk",
    ] {
        assert_eq!(browser.get(path).await.status, 404, "{path}");
    }
    let reply = browser
        .post("/admin/data/mylist/new", "%3Dtext=meant&?checkbox=false")
        .await;
    assert_eq!(reply.status, 303, "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_down_and_says_nothing_of_names() {
    let street = street().await;
    let wrong = sign_in(&street, CLIENTE, "ana", "wrong horse").await;
    let nobody = sign_in(&street, CLIENTE, "nobody", "wrong horse").await;
    assert_eq!((wrong.status, nobody.status), (403, 403));
    let without_name = |reply: &Reply| reply.body.replace("nobody", "ana");
    assert_eq!(without_name(&wrong), without_name(&nobody));
    for _ in 0..4 {
        assert_eq!(sign_in(&street, CLIENTE, "ana", "wrong horse").await.status, 403);
    }
    let throttled = sign_in(&street, CLIENTE, "ana", PASSWORD).await;
    assert_eq!(throttled.status, 429, "{throttled:?}");
    assert!(throttled.header("retry-after").is_some());
    assert!(throttled.header("set-cookie").is_none());
    // Another tenant's user of the same name is another user.
    assert_eq!(sign_in(&street, CLIENTE2, "ana", PASSWORD).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_when_they_shall() {
    let street = street().await;
    let [here, there] = [
        Browser::sign_in(&street, CLIENTE).await,
        Browser::sign_in(&street, CLIENTE).await,
    ];
    assert!(here.get("/admin/account").await.body.contains("this one"));
    leads_to(
        &here.post("/admin/sign-out", "").await,
        "/admin/sign-in?_done=signed-out",
    );
    assert_eq!(here.get("/admin/data/").await.status, 303);
    assert_eq!(there.get("/admin/data/").await.status, 200);
    let again = Browser::sign_in(&street, CLIENTE).await;
    leads_to(
        &again.post("/admin/account/sign-out-everywhere", "").await,
        "/admin/sign-in?_done=signed-out",
    );
    assert_eq!(there.get("/admin/data/").await.status, 303);
    assert_eq!(again.get("/admin/data/").await.status, 303);

    // Another password ends the others.
    let [one, two] = [
        Browser::sign_in(&street, CLIENTE).await,
        Browser::sign_in(&street, CLIENTE).await,
    ];
    let form = "old=correct+horse&new=battery+staple&again=battery+staple";
    let changed = one.post("/admin/account/password", form).await;
    leads_to(&changed, "/admin/account?_done=password");
    // Whoever has the old cookie has nothing: the browser that changed it gets a new one.
    for ended in [&one, &two] {
        assert_eq!(ended.get("/admin/data/").await.status, 303);
    }
    let one = Browser {
        cookie: cookie(&changed),
        ..one
    };
    assert_eq!(one.get("/admin/data/").await.status, 200);
    assert_eq!(sign_in(&street, CLIENTE, "ana", PASSWORD).await.status, 403);
    for (form, says) in [
        (
            "old=wrong&new=battery+staple&again=battery+staple",
            "not the current password",
        ),
        ("old=battery+staple&new=short&again=short", "At least 8"),
        ("old=battery+staple&new=long+enough&again=other+one", "differ"),
    ] {
        let reply = one.post("/admin/account/password", form).await;
        assert!(reply.status == 400 && reply.body.contains(says), "{form}: {reply:?}");
    }

    // And who is removed is out, within a second on every edge.
    let client = connect(&street.socket_dir(), migrate::EDGE_LOGIN, migrate::EMBEDDED_DATABASE).await;
    assert!(
        users::remove(&client, &"cliente".parse().unwrap(), "ana")
            .await
            .unwrap()
    );
    until(Duration::from_secs(3), "the end of the session", async || {
        one.get("/admin/data/").await.status == 303
    })
    .await;
    assert!(
        street
            .get(CLIENTE, "/admin/sign-in")
            .await
            .body
            .contains("rowhouse user add --tenant cliente")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_of_users_are_nobodys_but_the_edges() {
    let street = street().await;
    let database = street.superuser().await;
    for role in [
        "rowhouse_cliente_anon",
        "rowhouse_cliente_user",
        "rowhouse_cliente_owner",
        "rowhouse_cliente_login",
        "rowhouse_adm_owner",
    ] {
        for table in ["users", "sessions"] {
            let sql = format!("SET ROLE {role}; SELECT 1 FROM rowhouse.{table}");
            let refused = database.batch_execute(&sql).await.unwrap_err();
            assert_eq!(refused.code().unwrap().code(), "42501", "{role} {table}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_made_changed_and_deleted() {
    let street = street().await;
    let browser = Browser::sign_in(&street, CLIENTE).await;
    let made = browser
        .post(
            "/admin/data/mylist/new",
            "%3Dtext=milk&?checkbox=false&%3Dtags=a%0D%0Ab&%3Ddetails=&%3Ddue=",
        )
        .await;
    leads_to(&made, "/admin/data/mylist/row?id=eq.1&_done=created");
    let rows = street
        .get(CLIENTE, "/api/mylist?select=text,checkbox,due,tags,details")
        .await;
    assert_eq!(
        rows.body,
        r#"[{"text":"milk","checkbox":false,"due":null,"tags":["a","b"],"details":{}}]"#
    );
    let page = browser.get("/admin/data/mylist/row?id=eq.1&_done=created").await;
    assert!(
        page.body.contains("Created.") && page.body.contains("value=\"milk\""),
        "{}",
        page.body
    );

    let changed = browser
        .post(
            "/admin/data/mylist/row?id=eq.1",
            "%3Dtext=milk&%3Dcheckbox=true&?checkbox=false&%3Ddue=2026-12-01&%3Ddetails=%7B%22n%22%3A1.10%7D",
        )
        .await;
    leads_to(&changed, "/admin/data/mylist/row?id=eq.1&_done=saved");
    let rows = street
        .get(CLIENTE, "/api/mylist?select=text,checkbox,due,tags,details")
        .await;
    assert_eq!(
        rows.body,
        r#"[{"text":"milk","checkbox":true,"due":"2026-12-01","tags":["a","b"],"details":{"n": 1.10}}]"#
    );
    // The neighbour has nothing of it.
    assert_eq!(street.get(CLIENTE2, "/api/mylist").await.body, "[]");

    // What is wrong is said where it is, and nothing that was written is lost.
    for (form, field, says) in [
        ("%3Dtext=", "text", "violates check constraint"),
        ("%3Dtext=ok&%3Ddue=2026-13-01", "due", "out of range"),
        ("%3Dtext=ok&%3Ddetails=%7B", "details", "This is no JSON"),
    ] {
        let reply = browser.post("/admin/data/mylist/row?id=eq.1", form).await;
        assert_eq!(reply.status, 400, "{form}");
        let (_, of_field) = reply.body.split_once(&format!("name=\"={field}\"")).unwrap();
        let of_field = of_field.split("<div class=\"field").next().unwrap();
        assert!(
            of_field.contains("aria-invalid=\"true\"") && of_field.contains(says),
            "{form}: {of_field}"
        );
    }
    let unchanged = browser.post("/admin/data/mylist/row?id=eq.1", "%3Dtext=milk").await;
    leads_to(&unchanged, "/admin/data/mylist/row?id=eq.1&_done=unchanged");

    let asked = browser.get("/admin/data/mylist/delete?id=eq.1").await;
    assert!(asked.body.contains("Delete this row of mylist?"), "{}", asked.body);
    assert_ne!(street.get(CLIENTE, "/api/mylist").await.body, "[]");
    leads_to(
        &browser.post("/admin/data/mylist/delete?id=eq.1", "sure=yes").await,
        "/admin/data/mylist?_done=deleted&_n=1",
    );
    assert_eq!(street.get(CLIENTE, "/api/mylist").await.body, "[]");
    assert_eq!(browser.get("/admin/data/mylist/row?id=eq.1").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_role_may_not_is_neither_offered_nor_done() {
    let street = street().await;
    let database = street.superuser().await;
    database
        .batch_execute("INSERT INTO public.beforeidie (text) VALUES ('fly')")
        .await
        .unwrap();
    let tenant = Browser::sign_in(&street, CLIENTE).await;
    let page = tenant.get("/admin/data/beforeidie").await.body;
    assert!(
        page.contains("fly") && !page.contains("/beforeidie/new") && !page.contains("name=\"row\""),
        "{page}"
    );
    for (path, form) in [
        ("/admin/data/beforeidie/new", "%3Dtext=forced"),
        ("/admin/data/beforeidie/row?id=eq.1", "%3Dtext=forced"),
        ("/admin/data/beforeidie/delete?id=eq.1", "sure=yes"),
        ("/admin/data/beforeidie/bulk", "row=id%3Deq.1&do=delete&sure=yes"),
        (
            "/admin/data/beforeidie/bulk",
            "row=id%3Deq.1&do=set&column=text&value=forced&sure=yes",
        ),
        ("/admin/data/beforeidie/import", "do=run&format=csv&text=text%0Aforced"),
    ] {
        let reply = tenant.post(path, form).await;
        assert!(reply.body.contains("permission denied"), "{path}: {reply:?}");
    }
    // The operator's role may.
    let operator = Browser::sign_in(&street, ADM).await;
    let reply = operator
        .post("/admin/data/beforeidie/row?id=eq.1", "%3Dtext=sail")
        .await;
    assert_eq!(reply.status, 303, "{reply:?}");
    for host in [CLIENTE, CLIENTE2, ADM] {
        assert!(street.get(host, "/api/beforeidie").await.body.contains("sail"));
    }
    // Whoever has a lesser role does less.
    let client = connect(&street.socket_dir(), migrate::EDGE_LOGIN, migrate::EMBEDDED_DATABASE).await;
    let cliente = "cliente".parse().unwrap();
    for (name, role) in [
        ("reader", "rowhouse_cliente_anon"),
        ("stranger", "rowhouse_cliente2_user"),
    ] {
        users::add(&client, &cliente, name, Some(role), PASSWORD).await.unwrap();
    }
    let reader = Browser {
        street: &street,
        host: CLIENTE,
        cookie: cookie(&sign_in(&street, CLIENTE, "reader", PASSWORD).await),
    };
    assert!(!reader.get("/admin/data/mylist").await.body.contains("/mylist/new"));
    assert!(
        reader
            .post("/admin/data/mylist/new", "%3Dtext=x")
            .await
            .body
            .contains("permission denied")
    );
    let stranger = Browser {
        street: &street,
        host: CLIENTE,
        cookie: cookie(&sign_in(&street, CLIENTE, "stranger", PASSWORD).await),
    };
    assert_eq!(stranger.get("/admin/data/").await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_are_changed_at_once_and_no_others() {
    let street = street().await;
    let database = street.superuser().await;
    database
        .batch_execute("INSERT INTO cliente.mylist (text) SELECT 'row ' || n FROM generate_series(1, 5) n")
        .await
        .unwrap();
    let browser = Browser::sign_in(&street, CLIENTE).await;
    let chosen = "row=id%3Deq.2&row=id%3Deq.4";
    let asked = browser
        .post("/admin/data/mylist/bulk", &format!("{chosen}&do=delete"))
        .await;
    assert!(
        asked.status == 200 && asked.body.contains("Delete 2 rows of mylist?") && asked.body.contains("row 4"),
        "{asked:?}"
    );
    let set = browser
        .post(
            "/admin/data/mylist/bulk",
            &format!("{chosen}&do=set&column=checkbox&value=yes&sure=yes&here=%3Fq%3Drow"),
        )
        .await;
    leads_to(&set, "/admin/data/mylist?q=row&_done=changed&_n=2");
    let done = street
        .get(CLIENTE, "/api/mylist?select=id&checkbox=is.true&order=id")
        .await;
    assert_eq!(done.body, r#"[{"id":2},{"id":4}]"#);
    let wrong = browser
        .post(
            "/admin/data/mylist/bulk",
            &format!("{chosen}&do=set&column=due&value=never&sure=yes"),
        )
        .await;
    assert!(
        wrong.status == 400 && wrong.body.contains("invalid input syntax for type date"),
        "{wrong:?}"
    );
    // A key that is none, or that tries to be a filter, chooses nothing.
    for row in [
        "",
        "id%3Dgt.0",
        "id%3Deq.1%26or%3D(id.gt.0)",
        "text%3Deq.x",
        "id%3Dnot.eq.1",
    ] {
        let reply = browser
            .post("/admin/data/mylist/bulk", &format!("row={row}&do=delete&sure=yes"))
            .await;
        leads_to(&reply, "/admin/data/mylist?_done=none");
    }
    let quoted = browser
        .post(
            "/admin/data/mylist/bulk",
            "row=id%3Deq.1%22),id.gt.(%220&do=delete&sure=yes",
        )
        .await;
    assert_eq!(quoted.status, 400, "{quoted:?}");
    let deleted = browser
        .post("/admin/data/mylist/bulk", &format!("{chosen}&do=delete&sure=yes"))
        .await;
    leads_to(&deleted, "/admin/data/mylist?_done=deleted&_n=2");
    assert_eq!(
        street.get(CLIENTE, "/api/mylist?select=id&order=id").await.body,
        r#"[{"id":1},{"id":3},{"id":5}]"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_list_show_every_row_once() {
    let street = street().await;
    let database = street.superuser().await;
    database
        .batch_execute(
            "INSERT INTO cliente.mylist (text, due) SELECT 'row ' || n || '.', CASE WHEN n % 3 > 0 THEN date '2026-01-01' + n % 7 END
             FROM generate_series(1, 130) n",
        )
        .await
        .unwrap();
    let browser = Browser::sign_in(&street, CLIENTE).await;
    for sort in ["", "sort=due.asc", "sort=due.desc", "sort=text.desc"] {
        let mut href = format!("/admin/data/mylist?{sort}");
        let mut seen = Vec::new();
        let mut previous = None;
        for page in 0..3 {
            let reply = browser.get(&href).await;
            assert_eq!(reply.status, 200, "{href}");
            assert!(reply.body.contains("130 rows"), "{href}");
            seen.extend(
                reply
                    .body
                    .match_indices("name=\"row\" value=\"id=eq.")
                    .map(|(at, text)| {
                        let rest = &reply.body[at + text.len()..];
                        rest.split('"').next().unwrap().parse::<u32>().unwrap()
                    }),
            );
            let link = |rel: &str| {
                let (_, rest) = reply.body.split_once(&format!("rel=\"{rel}\" href=\""))?;
                Some(rest.split('"').next()?.replace("&#38;", "&"))
            };
            if page > 0 {
                previous = link("prev");
                assert!(previous.is_some(), "{href}");
            }
            match link("next") {
                Some(next) => href = next,
                None => assert_eq!(page, 2, "{href}"),
            }
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((count, seen.len()), (130, 130), "{sort}");
        // And back.
        let back = browser.get(&previous.unwrap()).await;
        assert_eq!(back.body.matches("name=\"row\"").count(), 50, "{sort}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_a_page_where_clients_get_fewer_rows() {
    let street = Street::start("", "[tenants.few]\nhosts = [\"few.localhost\"]\nmax_rows = 10\n").await;
    let client = connect(&street.socket_dir(), migrate::EDGE_LOGIN, migrate::EMBEDDED_DATABASE).await;
    users::create_tables(&client).await.unwrap();
    users::add(&client, &"few".parse().unwrap(), "ana", None, PASSWORD)
        .await
        .unwrap();
    let database = street.superuser().await;
    database
        .batch_execute("INSERT INTO few.mylist (text) SELECT 'row ' || n FROM generate_series(1, 60) n")
        .await
        .unwrap();
    let browser = Browser::sign_in(&street, "few.localhost").await;
    let page = browser.get("/admin/data/mylist").await.body;
    assert_eq!(page.matches("name=\"row\"").count(), 50);
    assert!(page.contains("rel=\"next\""));
    assert_eq!(
        street
            .get("few.localhost", "/api/mylist")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        10
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_searched_and_exported() {
    let street = street().await;
    let database = street.superuser().await;
    database
        .batch_execute(
            "INSERT INTO cliente.mylist (text, due, tags) VALUES
                ('100% sure', '2026-01-01', '{casa}'), ('1000 sure', NULL, '{mar,casa}'), ('say \"hi\", \\o/', '2026-02-01', '{}')",
        )
        .await
        .unwrap();
    let browser = Browser::sign_in(&street, CLIENTE).await;
    for (query, rows) in [
        ("q=sure", 2),
        ("q=100%25", 1),
        ("c=text&o=contains&v=%22hi%22,%20%5Co", 1),
        ("c=text&o=starts&v=SAY", 1),
        ("c=due&o=null&v=", 1),
        ("c=due&o=lt&v=2026-01-15", 1),
        ("c=tags&o=has&v=casa", 2),
        ("c=tags&o=has&v=casa,mar", 1),
        ("c=tags&o=any&v=mar,rio", 1),
        ("c=checkbox&o=yes&v=", 0),
        ("c=text&o=in&v=1000%20sure,x", 1),
        ("c=id&o=gte&v=2&c=due&o=notnull&v=", 1),
        ("c=text&o=match&v=%5E1.*sure$", 2),
    ] {
        let page = browser.get(&format!("/admin/data/mylist?{query}")).await;
        assert_eq!(
            (page.status, page.body.matches("name=\"row\"").count()),
            (200, rows),
            "{query}: {}",
            page.body
        );
        // An export is of the same rows.
        let csv = browser
            .get(&format!("/admin/data/mylist/export?{query}&format=csv"))
            .await;
        assert_eq!(
            csv.body.lines().count().saturating_sub(1),
            rows,
            "{query}: {}",
            csv.body
        );
    }
    let wrong = browser.get("/admin/data/mylist?c=due&o=is&v=never").await;
    assert!(
        wrong.status == 400 && wrong.body.contains("invalid input syntax for type date"),
        "{wrong:?}"
    );
    let json = browser
        .get("/admin/data/mylist/export?q=hi&format=json&show=text")
        .await;
    assert_eq!(json.body, r#"[{"text":"say \"hi\", \\o/"}]"#);
    let disposition = json.header("content-disposition").unwrap();
    assert!(
        disposition.contains("attachment") && disposition.contains("cliente-mylist.json"),
        "{disposition}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_whole_or_nothing_and_an_export_is_all_there_is() {
    let street = street().await;
    let browser = Browser::sign_in(&street, CLIENTE).await;
    let key = browser.key().await;
    let send = async |csv: &str, run: &str| {
        let headers = [
            ("Cookie", browser.cookie.as_str()),
            ("Content-Type", "text/csv"),
            ("X-Rowhouse-Form", key.as_str()),
        ];
        let path = format!("/admin/data/mylist/import{run}");
        street.send("POST", CLIENTE, &path, &headers, csv).await
    };
    let mut csv = String::from("text,due\n");
    for number in 1..=3000 {
        csv.push_str(&format!("\"row {number}\nof many\",2026-01-01\n"));
    }
    let preview = send(&csv, "").await;
    assert!(
        preview.body.contains("data-good=\"3000\"") && preview.body.contains("row 10"),
        "{preview:?}"
    );
    assert_eq!(street.get(CLIENTE, "/api/mylist?limit=1").await.body, "[]");
    // One row that does not fit, and which.
    let bad = csv.replacen(
        "\"row 2345\nof many\",2026-01-01",
        "\"row 2345\nof many\",2026-13-01",
        1,
    );
    for run in ["", "?run=1"] {
        let refused = send(&bad, run).await;
        assert!(
            refused.body.contains("is number 2345.") && refused.body.contains("out of range"),
            "{refused:?}"
        );
    }
    let unknown = send("text,nothing\na,b\n", "?run=1").await;
    assert!(unknown.body.contains("There is no column nothing."), "{unknown:?}");
    assert_eq!(street.get(CLIENTE, "/api/mylist?limit=1").await.body, "[]");
    let without_key = street
        .send(
            "POST",
            CLIENTE,
            "/admin/data/mylist/import?run=1",
            &[("Cookie", &browser.cookie), ("Content-Type", "text/csv")],
            &csv,
        )
        .await;
    assert_eq!(without_key.status, 403);
    let run = send(&csv, "?run=1").await;
    assert_eq!(
        run.header("x-rowhouse-next"),
        Some("/admin/data/mylist?_done=imported&_n=3000"),
        "{run:?}"
    );
    // More than the API gives at once.
    let exported = browser
        .get("/admin/data/mylist/export?format=json&show=id")
        .await
        .json();
    assert_eq!(exported.as_array().unwrap().len(), 3000);
    // Objects need not have the same keys, and what is exported can be imported again.
    let form = "format=json&do=run&text=%5B%7B%22text%22%3A%22a%22%7D%2C%7B%22text%22%3A%22b%22%2C%22due%22%3A%222026-01-01%22%7D%5D";
    leads_to(
        &browser.post("/admin/data/mylist/import", form).await,
        "/admin/data/mylist?_done=imported&_n=2",
    );
    let csv = browser
        .get("/admin/data/mylist/export?show=text&show=due&c=text&o=is&v=a")
        .await
        .body;
    assert_eq!(csv, "text,due\na,");
    assert!(send(&csv, "?run=1").await.header("x-rowhouse-next").is_some());
    // Without the script: the text itself.
    let form = "format=json&do=run&text=%5B%7B%22text%22%3A%22by+form%22%7D%5D";
    leads_to(
        &browser.post("/admin/data/mylist/import", form).await,
        "/admin/data/mylist?_done=imported&_n=1",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn references_are_named_followed_and_found() {
    let street = street().await;
    let database = street.superuser().await;
    database
        .batch_execute(
            "INSERT INTO cliente.mylist (text) VALUES ('paint the house'), ('buy milk');
             INSERT INTO cliente.steps (item, text) VALUES (1, 'buy paint'), (1, 'call Rui')",
        )
        .await
        .unwrap();
    let browser = Browser::sign_in(&street, CLIENTE).await;
    let steps = browser.get("/admin/data/steps").await.body;
    assert!(
        steps.contains("<a href=\"/admin/data/mylist/row?id=eq.1\">paint the house</a>"),
        "{steps}"
    );
    let step = browser.get("/admin/data/steps/row?id=eq.1").await.body;
    assert!(
        step.contains("now: paint the house") && step.contains("data-pick=\"/admin/data/mylist/pick?column=id\""),
        "{step}"
    );
    let item = browser.get("/admin/data/mylist/row?id=eq.1").await.body;
    assert!(
        item.contains("steps by item") && item.contains("call Rui") && item.contains("/admin/data/steps/new?%3Ditem=1"),
        "{item}"
    );
    assert!(
        browser
            .get("/admin/data/steps/new?%3Ditem=2")
            .await
            .body
            .contains("value=\"2\"")
    );
    for (q, found) in [
        ("milk", r#"[{"label":"buy milk","value":"2"}]"#),
        ("1", r#"[{"label":"paint the house","value":"1"}]"#),
        ("zzz", "[]"),
    ] {
        assert_eq!(
            browser
                .get(&format!("/admin/data/mylist/pick?column=id&q={q}"))
                .await
                .body,
            found
        );
    }
    let refused = browser.post("/admin/data/steps/new", "%3Ditem=99&%3Dtext=x").await;
    assert!(
        refused.status == 400 && refused.body.contains("is not present in table"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relation_of_the_api_is_a_page_for_who_reads() {
    let street = street().await;
    const BROWSERS: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = street
        .send("GET", CLIENTE, "/api/mylist", &[("Accept", BROWSERS)], "")
        .await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        page.body.contains("curl &#39;http://cliente.localhost/api/mylist?"),
        "{}",
        page.body
    );
    let link = street
        .send("GET", CLIENTE, "/api/mylist?limit=5", &[("Accept", BROWSERS)], "")
        .await;
    assert_eq!(link.body, "[]", "who asks for certain rows gets them");
    for accept in ["*/*", "application/json", "application/json, text/html;q=0.9"] {
        let rows = street
            .send("GET", CLIENTE, "/api/mylist", &[("Accept", accept)], "")
            .await;
        assert_eq!((rows.status, rows.body.as_str()), (200, "[]"), "{accept}");
    }
    let unknown = street
        .send("GET", CLIENTE, "/api/nothing", &[("Accept", BROWSERS)], "")
        .await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "PGRST205"));
    // Tried without a token it is what anybody may do; signed in, what the user may.
    let form = "method=POST&query=&prefer=return%3Drepresentation&body=%7B%22text%22%3A%22tried%22%7D";
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let anonymous = street.send("POST", CLIENTE, "/admin/api/mylist", &headers, form).await;
    assert!(anonymous.body.contains("401 Unauthorized"), "{anonymous:?}");
    let browser = Browser::sign_in(&street, CLIENTE).await;
    assert_eq!(browser.post_without_key("/admin/api/mylist", form).await.status, 403);
    // What would concern every row, because the query says nothing of which, is not sent.
    for (method, query) in [
        ("DELETE", "select=*&limit=5"),
        ("PATCH", "select=*&limit=5"),
        ("DELETE", ""),
        ("DELETE", "apikey.limit=1"),
        ("DELETE", "steps.id=eq.0"),
        ("DELETE", "on_conflict=id"),
        ("DELETE", "id"),
    ] {
        let query = query.replace('=', "%3D").replace('&', "%26");
        let form = format!("method={method}&query={query}&prefer=&body=%7B%7D");
        let tried = browser.post("/admin/api/mylist", &form).await;
        assert!(tried.body.contains("Not sent"), "{tried:?}");
    }
    // Nor does the box decide what the tenant does not let clients decide.
    let undone = form.replace("prefer=", "prefer=tx%3Drollback%2C");
    let tried = browser.post("/admin/api/mylist", &undone).await;
    assert!(tried.body.contains("201 Created"), "{tried:?}");
    assert!(street.get(CLIENTE, "/api/mylist").await.body.contains("tried"));
    let tried = browser.post("/admin/api/mylist", form).await;
    assert!(
        tried.body.contains("201 Created") && tried.body.contains("&#34;text&#34;: &#34;tried&#34;"),
        "{tried:?}"
    );
    let all = browser.get("/admin/api/").await;
    assert!(
        all.body.contains("/rpc/upcoming") && all.body.contains("/admin/api/mylist"),
        "{all:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tenants_code_never_sees_the_cookie() {
    let street = street().await;
    let database = street.superuser().await;
    database
        .batch_execute(
            "CREATE FUNCTION cliente.seen() RETURNS text STABLE LANGUAGE sql
                 AS $$ SELECT current_setting('request.cookies', true) || current_setting('request.headers', true) $$;
             CREATE VIEW cliente.looks AS SELECT cliente.seen() AS seen;
             GRANT SELECT ON cliente.looks TO rowhouse_cliente_user, rowhouse_cliente_anon;
             NOTIFY rowhouse",
        )
        .await
        .unwrap();
    let browser = Browser::sign_in(&street, CLIENTE).await;
    until(Duration::from_secs(5), "the view", async || {
        browser.get("/admin/data/looks").await.status == 200
    })
    .await;
    let (_, secret) = browser.cookie.split_once('=').unwrap();
    assert!(!browser.get("/admin/data/looks").await.body.contains(secret));
    let cookies = format!("{}; theme=dark; __Host-rowhouse={secret}", browser.cookie);
    let seen = street
        .send("GET", CLIENTE, "/api/looks", &[("Cookie", &cookies)], "")
        .await
        .body;
    assert!(seen.contains("theme") && !seen.contains(secret), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_is_spoken_to_in_portuguese() {
    let street = street().await;
    let page = street
        .send(
            "GET",
            CLIENTE,
            "/admin/sign-in",
            &[("Accept-Language", "pt-BR,pt;q=0.9,en;q=0.5")],
            "",
        )
        .await;
    assert!(
        page.body.contains("<html lang=\"pt\">") && page.body.contains("Entrar em cliente"),
        "{}",
        page.body
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_small_and_fast() {
    let street = street().await;
    let database = street.superuser().await;
    database
        .batch_execute("INSERT INTO cliente.mylist (text) SELECT 'row ' || n FROM generate_series(1, 60) n")
        .await
        .unwrap();
    let browser = Browser::sign_in(&street, CLIENTE).await;
    let page = browser.get("/admin/data/mylist").await;
    let mut bytes = page.body.len();
    for attribute in ["<link rel=\"stylesheet\" href=\"", "<script src=\""] {
        let (_, rest) = page.body.split_once(attribute).unwrap();
        let file = street.get(CLIENTE, rest.split('"').next().unwrap()).await;
        assert_eq!(file.status, 200);
        assert!(file.header("cache-control").unwrap().contains("immutable"));
        bytes += file.body.len();
    }
    assert!(bytes <= 60 * 1024, "{bytes} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_may_not_use_is_not_even_described() {
    let street = street().await;
    let database = street.superuser().await;
    database
        .batch_execute("CREATE TABLE cliente.salaries (id int PRIMARY KEY, amount int); NOTIFY rowhouse")
        .await
        .unwrap();
    let browser = Browser::sign_in(&street, CLIENTE).await;
    until(Duration::from_secs(5), "the table in the catalog", async || {
        street.get(CLIENTE, "/api/salaries").await.code() == "42501"
    })
    .await;
    for path in [
        "/admin/data/salaries",
        "/admin/data/salaries/new",
        "/admin/data/salaries/import",
        "/admin/data/salaries/export",
        "/admin/api/salaries",
    ] {
        assert_eq!(browser.get(path).await.status, 404, "{path}");
    }
    let page = street
        .send("GET", CLIENTE, "/api/salaries", &[("Accept", "text/html")], "")
        .await;
    assert!(page.status >= 400 && !page.body.contains("amount"), "{page:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_page_cannot_load_the_console_into_itself() {
    let street = street().await;
    let browser = Browser::sign_in(&street, CLIENTE).await;
    for (site, mode, status) in [
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
        ("cross-site", "navigate", 200),
        ("same-site", "no-cors", 403),
        ("cross-site", "no-cors", 403),
        ("cross-site", "cors", 403),
    ] {
        let headers = [
            ("Cookie", browser.cookie.as_str()),
            ("Sec-Fetch-Site", site),
            ("Sec-Fetch-Mode", mode),
        ];
        let reply = street
            .send("GET", CLIENTE, "/admin/data/mylist/export", &headers, "")
            .await;
        assert_eq!(reply.status, status, "{site} {mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_gives_no_sessions() {
    let street = street().await;
    let database = street.superuser().await;
    database
        .batch_execute(
            r#"CREATE FUNCTION cliente.plant() RETURNS int LANGUAGE sql AS $$ SELECT set_config('response.headers',
                '[{"Set-Cookie": "rowhouse_session=abc"}, {"Set-Cookie": " __Host-rowhouse =abc"}, {"Set-Cookie": "theme=dark"}]', true); SELECT 1 $$;
               NOTIFY rowhouse"#,
        )
        .await
        .unwrap();
    until(Duration::from_secs(5), "the function", async || {
        street.get(CLIENTE, "/api/rpc/plant").await.status == 200
    })
    .await;
    let reply = street.get(CLIENTE, "/api/rpc/plant").await;
    assert!(
        reply.head.contains("theme=dark") && !reply.head.contains("rowhouse"),
        "{reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_street_shows_all_tenants_to_the_operator_alone() {
    let street = street().await;
    let tenant = Browser::sign_in(&street, CLIENTE).await;
    for path in [
        "/admin/tenants/cliente2",
        "/admin/street/reload",
        "/admin/tenants/cliente/drain",
    ] {
        assert_eq!(tenant.get(path).await.status, 404, "{path}");
        assert_eq!(tenant.post(path, "").await.status, 404, "{path}");
    }
    assert!(!tenant.get("/admin/").await.body.contains("cliente2"));
    let operator = Browser::sign_in(&street, ADM).await;
    let page = operator.get("/admin/").await;
    for shown in [
        "/admin/tenants/adm",
        "/admin/tenants/cliente",
        "/admin/tenants/cliente2",
        "<svg class=\"chart\"",
    ] {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
    let found = operator.get("/admin/?q=cliente2").await.body;
    assert!(
        found.contains("/admin/tenants/cliente2") && !found.contains("/admin/tenants/adm"),
        "{found}"
    );

    // A new file appears, a bad one with where it is bad, and a migration that fails with why.
    street.write("more.toml", "[tenants.more]\nhosts = [\"more.localhost\"]\n");
    street.write("bad.toml", "[tenants.bad]\nhosts = [\"not a host\"]\n");
    let part = async || {
        let headers = [("Cookie", operator.cookie.as_str()), ("X-Rowhouse-Part", "1")];
        street.send("GET", ADM, "/admin/", &headers, "").await.body
    };
    until(Duration::from_secs(10), "the new tenant on the street", async || {
        let part = part().await;
        assert!(!part.contains("<html"), "a part of the page");
        part.contains("/admin/tenants/more") && part.contains("bad.toml:2:10:")
    })
    .await;
    street.remove("bad.toml");
    street.write_migration("tenant/V200__bad.sql", "SELECT nonsense;");
    leads_to(
        &operator.post("/admin/street/reload", "").await,
        "/admin/?_done=reloaded",
    );
    until(
        Duration::from_secs(10),
        "the failed migration on the street",
        async || {
            let part = part().await;
            part.contains("1 pending") && part.contains("V200__bad.sql")
        },
    )
    .await;
    assert_eq!(street.get(CLIENTE, "/api/mylist").await.status, 200, "served as it was");
    let status = street.status().await;
    assert_eq!(status["tenants"]["cliente"]["migrations_pending"], 1, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_drains_resumes_closes_and_signs() {
    let street = street().await;
    let operator = Browser::sign_in(&street, ADM).await;
    assert_eq!(street.get(CLIENTE, "/api/mylist").await.status, 200);
    let asked = operator.get("/admin/tenants/cliente/drain").await;
    assert!(
        asked.status == 200 && asked.body.contains("cliente: Drain?"),
        "{asked:?}"
    );
    assert_eq!(
        street.get(CLIENTE, "/api/mylist").await.status,
        200,
        "asking does nothing"
    );
    leads_to(
        &operator.post("/admin/tenants/cliente/drain", "").await,
        "/admin/tenants/cliente?_done=drained",
    );
    let drained = street.get(CLIENTE, "/api/mylist").await;
    assert_eq!((drained.status, drained.code().as_str()), (503, "draining"));
    assert_eq!(street.get(CLIENTE2, "/api/mylist").await.status, 200);
    assert_eq!(street.status().await["tenants"]["cliente"]["state"], "draining");
    // It stays so, whatever the files do meanwhile.
    street.write("more.toml", "[tenants.more]\nhosts = [\"more.localhost\"]\n");
    street.edge().reload();
    until(Duration::from_secs(10), "the reload", async || {
        street.get("more.localhost", "/api/mylist").await.status == 200
    })
    .await;
    assert_eq!(street.get(CLIENTE, "/api/mylist").await.status, 503);
    leads_to(
        &operator.post("/admin/tenants/cliente/resume", "").await,
        "/admin/tenants/cliente?_done=resumed",
    );
    assert_eq!(street.get(CLIENTE, "/api/mylist").await.status, 200);
    // The operator's own is not drained: nobody could resume it.
    operator.post("/admin/tenants/adm/drain", "").await;
    assert_eq!(street.get(ADM, "/api/beforeidie").await.status, 200);

    let idle = |status: &serde_json::Value| status["tenants"]["cliente"]["idle"].as_u64().unwrap();
    assert!(idle(&street.status().await) > 0);
    let closed = operator.post("/admin/tenants/cliente/close-idle", "").await;
    assert!(
        closed
            .header("location")
            .unwrap()
            .starts_with("/admin/tenants/cliente?_done=closed&_n="),
        "{closed:?}"
    );
    assert_eq!(idle(&street.status().await), 0);

    let signed = operator
        .post("/admin/tenants/cliente/token", "role=rowhouse_cliente_user&ttl=3600")
        .await;
    let (_, token) = signed.body.split_once("data-copied=\"Copied\">").unwrap();
    let authorization = format!("Bearer {}", token.split('<').next().unwrap());
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    let written = street
        .send("POST", CLIENTE, "/api/mylist", &headers, r#"{"text": "signed"}"#)
        .await;
    assert_eq!(written.status, 201, "{written:?}");
    let foreign = street
        .send("POST", CLIENTE2, "/api/mylist", &headers, r#"{"text": "signed"}"#)
        .await;
    assert_eq!(foreign.status, 401);
    for role in ["rowhouse_cliente2_user", "postgres", "none"] {
        let refused = operator
            .post("/admin/tenants/cliente/token", &format!("role={role}&ttl=3600"))
            .await;
        assert_eq!(refused.status, 403, "{role}");
    }
    // What failed is on the tenant's page, without its values.
    street.get(CLIENTE, "/api/mylist?due=eq.secret").await;
    let page = operator.get("/admin/tenants/cliente").await.body;
    assert!(
        page.contains("GET /api/mylist") && page.contains("22007") && !page.contains("secret"),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_who_asks_and_how() {
    let attempt = async |street: &Street, forwarded: &str| {
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("X-Forwarded-For", forwarded),
            ("X-Forwarded-Proto", "https"),
        ];
        street
            .send("POST", CLIENTE, "/admin/sign-in", &headers, "name=ana&password=wrong")
            .await
            .status
    };
    // Whoever is not trusted says nothing of themselves: the sixth attempt waits, whatever they claim.
    let street = street().await;
    for number in 1..=6 {
        let status = attempt(&street, &format!("198.51.100.{number}")).await;
        assert_eq!(status, if number < 6 { 403 } else { 429 });
    }
    let toml = street.rowhouse_toml();
    street.write_rowhouse_toml(&toml.replace(
        "[server]\n",
        "[server]\ntrusted_proxies = [\"127.0.0.0/8\", \"192.0.2.1\"]\n",
    ));
    let street = street.restarted().await;
    for number in 1..=6 {
        assert_eq!(attempt(&street, &format!("198.51.100.{number}")).await, 403);
    }
    // The last that is no proxy counts, and not what a client has put in front of it.
    for number in 1..=6 {
        let status = attempt(&street, &format!("203.0.113.{number}, 198.51.100.9, 192.0.2.1")).await;
        assert_eq!(status, if number < 6 { 403 } else { 429 });
    }
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Forwarded-For", "198.51.100.20"),
        ("X-Forwarded-Proto", "https"),
    ];
    let reply = street
        .send(
            "POST",
            CLIENTE,
            "/admin/sign-in",
            &headers,
            "name=ana&password=correct+horse",
        )
        .await;
    let set = reply.header("set-cookie").unwrap();
    assert!(
        set.starts_with("__Host-rowhouse=") && set.ends_with("; Secure"),
        "{set}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_tables_are_listed_opened_and_saved() {
    let street = street().await;
    let database = street.superuser().await;
    database
        .batch_execute(
            "SET search_path = cliente;
             CREATE TABLE selfref (id int PRIMARY KEY, parent_id int REFERENCES selfref, name text);
             INSERT INTO selfref VALUES (1, NULL, 'root'), (2, 1, 'leaf');
             INSERT INTO people VALUES ('Caio', NULL);
             CREATE TABLE hidden (id int PRIMARY KEY, person text REFERENCES people);
             CREATE VIEW a_people AS SELECT * FROM people WHERE false;
             CREATE TABLE badges (id int PRIMARY KEY, person text REFERENCES people, photo bytea NOT NULL);
             INSERT INTO badges VALUES (1, 'Caio', '\\x0102');
             CREATE TABLE pairs (a int, done text, v int, PRIMARY KEY (a, done));
             INSERT INTO pairs VALUES (1, '&_done=x', 5);
             CREATE DOMAIN doc AS jsonb;
             CREATE TABLE guarded (id int PRIMARY KEY, name text, body doc, at date);
             INSERT INTO guarded VALUES (1, 'kept', '{\"a\": 1}', 'infinity'), (2, 'free', '{}', NULL);
             ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
             CREATE POLICY see ON guarded FOR SELECT USING (true);
             CREATE POLICY change ON guarded FOR UPDATE USING (id > 1);
             GRANT SELECT, INSERT, UPDATE, DELETE ON selfref, badges, pairs, guarded TO rowhouse_cliente_user;
             GRANT SELECT ON a_people TO rowhouse_cliente_user;
             NOTIFY rowhouse",
        )
        .await
        .unwrap();
    let browser = Browser::sign_in(&street, CLIENTE).await;
    until(Duration::from_secs(5), "the tables", async || {
        browser.get("/admin/data/guarded").await.status == 200
    })
    .await;
    // What refers to itself, named by its own text.
    let selfref = browser.get("/admin/data/selfref").await;
    assert!(selfref.body.contains("row?id=eq.1\">root</a>"), "{selfref:?}");
    // A table that is closed, and a view over the table that is meant, are in nobody's way.
    let person = browser.get("/admin/data/people/row?name=eq.Caio").await;
    assert!(
        person.status == 200 && person.body.contains("badges by person") && !person.body.contains("hidden by person"),
        "{person:?}"
    );
    let badge = browser.get("/admin/data/badges/row?id=eq.1").await.body;
    assert!(
        badge.contains("/admin/data/people/pick") && badge.contains("2 bytes"),
        "{badge}"
    );
    let (_, photo) = badge.split_once("name=\"=photo\"").unwrap();
    assert!(
        !photo.split('>').next().unwrap().contains("required"),
        "the bytes are there already: {photo}"
    );
    // A key that looks like a notice.
    let pair = browser
        .get("/admin/data/pairs/row?a=eq.1&done=eq.%26_done%3Dx&_done=saved")
        .await;
    assert!(pair.status == 200 && pair.body.contains("Saved."), "{pair:?}");
    // A policy that hides a row from changes: that is said, and what was written is not lost.
    let refused = browser.post("/admin/data/guarded/row?id=eq.1", "%3Dname=lost").await;
    assert!(
        refused.status == 400 && refused.body.contains("Nothing was saved.") && refused.body.contains("value=\"lost\""),
        "{refused:?}"
    );
    // A date that no calendar has is not in one, and a domain over JSON is JSON.
    let first = browser.get("/admin/data/guarded/row?id=eq.1").await.body;
    assert!(
        first.contains("value=\"infinity\"") && !first.contains("type=\"date\""),
        "{first}"
    );
    let saved = browser
        .post("/admin/data/guarded/row?id=eq.2", "%3Dbody=%7B%22a%22%3A2%7D")
        .await;
    assert_eq!(saved.status, 303, "{saved:?}");
    let row = database
        .query_one("SELECT body ->> 'a' FROM cliente.guarded WHERE id = 2", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "2");
    // A filter that makes no sense shows no rows, rather than all.
    let misfit = browser.get("/admin/data/guarded?c=id&o=contains&v=5").await;
    assert!(
        misfit.status == 400
            && misfit.body.contains("The filter of id does not fit")
            && !misfit.body.contains("name=\"row\""),
        "{misfit:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_form_sets_nothing_back() {
    let street = street().await;
    let database = street.superuser().await;
    database
        .batch_execute("INSERT INTO cliente.mylist (text) VALUES ('milk')")
        .await
        .unwrap();
    let browser = Browser::sign_in(&street, CLIENTE).await;
    let page = browser.get("/admin/data/mylist/row?id=eq.1").await.body;
    let shown = |column: &str| {
        let (_, rest) = page.split_once(&format!("name=\"~{column}\" value=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let form = format!(
        "%7Etext={}&%3Dtext=milk&%7Edue={}&%3Ddue=2026-12-24",
        shown("text"),
        shown("due")
    );
    database
        .batch_execute("UPDATE cliente.mylist SET text = 'eggs'")
        .await
        .unwrap();
    assert_eq!(browser.post("/admin/data/mylist/row?id=eq.1", &form).await.status, 303);
    let row = street.get(CLIENTE, "/api/mylist?select=text,due").await;
    assert_eq!(row.body, r#"[{"text":"eggs","due":"2026-12-24"}]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_outlives_the_session() {
    let street = street().await;
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let body = "_key=old&%3Dtext=written+%22before%22&?checkbox=false";
    let asked = street
        .send("POST", CLIENTE, "/admin/data/mylist/new", &form, body)
        .await;
    assert_eq!(asked.status, 401);
    for carried in [
        "name=\"replay\" value=\"/admin/data/mylist/new\"",
        "name=\"replay:=text\" value=\"written &#34;before&#34;\"",
    ] {
        assert!(asked.body.contains(carried), "{carried}: {}", asked.body);
    }
    assert!(!asked.body.contains("replay:_key"));
    // But passwords are not carried about.
    let passwords = street
        .send(
            "POST",
            CLIENTE,
            "/admin/account/password",
            &form,
            "old=secret1&new=secret2&again=secret2",
        )
        .await;
    assert!(
        passwords.status == 401 && !passwords.body.contains("secret"),
        "{passwords:?}"
    );
    // A wrong password keeps it, the right one shows it, and nothing is sent without a further press.
    let carried = "replay=/admin/data/mylist/new&replay:%3Dtext=written+%22before%22&replay:?checkbox=false";
    let wrong = street
        .send(
            "POST",
            CLIENTE,
            "/admin/sign-in",
            &form,
            &format!("name=ana&password=wrong&{carried}"),
        )
        .await;
    assert!(wrong.status == 403 && wrong.body.contains("replay:=text"), "{wrong:?}");
    let right = street
        .send(
            "POST",
            CLIENTE,
            "/admin/sign-in",
            &form,
            &format!("name=ana&password=correct+horse&{carried}"),
        )
        .await;
    assert!(
        right.status == 200 && right.body.contains("action=\"/admin/data/mylist/new\""),
        "{right:?}"
    );
    assert_eq!(street.get(CLIENTE, "/api/mylist").await.body, "[]");
    let browser = Browser {
        street: &street,
        host: CLIENTE,
        cookie: cookie(&right),
    };
    let sent = browser
        .post("/admin/data/mylist/new", "%3Dtext=written+%22before%22&?checkbox=false")
        .await;
    assert_eq!(sent.status, 303, "{sent:?}");
    // It goes nowhere but into the console.
    let foreign = format!(
        "name=ana&password=correct+horse&{}",
        carried.replace("/admin/data/mylist/new", "https://evil.example/")
    );
    leads_to(
        &street.send("POST", CLIENTE, "/admin/sign-in", &form, &foreign).await,
        "/admin/",
    );
}

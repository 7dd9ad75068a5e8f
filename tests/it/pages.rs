//! What a browser sees.

use crate::support::{Reply, Street};

const CLIENTE: &str = "cliente.localhost";
const ADM: &str = "adm.localhost";

/// What every page promises, whatever it shows.
#[track_caller]
fn is_page(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = reply.header("content-security-policy").unwrap_or_default();
    for rule in [
        "default-src 'none'",
        "style-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.split("; ").any(|given| given == rule), "{rule}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert!(reply.body.starts_with("<!doctype html>"), "{reply:?}");
    for forbidden in ["<script", "<style", " style=", " onerror=", "<img", "javascript:"] {
        assert!(!reply.body.contains(forbidden), "{forbidden}: {}", reply.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_fifty_rows_and_leads_to_the_next() {
    let street = Street::example().await;
    let database = street.superuser().await;
    let empty = street.get(CLIENTE, "/").await;
    is_page(&empty, 200);
    assert!(empty.body.contains("No rows yet."));
    database
        .batch_execute(
            "INSERT INTO cliente.mylist (text) SELECT 'row ' || n || '.' FROM generate_series(1, 60) n;
             INSERT INTO cliente2.mylist (text) VALUES ('of the neighbour');
             INSERT INTO public.beforeidie (text) VALUES ('of everybody')",
        )
        .await
        .unwrap();
    for path in ["/", "/mylist", "/mylist/", "/?page=1", "/?page=0", "/?page=x"] {
        let page = street.get(CLIENTE, path).await;
        is_page(&page, 200);
        assert!(page.body.contains("row 1.") && page.body.contains("row 50."), "{path}");
        assert!(!page.body.contains("row 51."), "{path}");
        assert!(page.body.contains(r#"<a rel="next" href="?page=2">"#), "{path}");
        assert!(!page.body.contains(r#"rel="prev""#), "{path}");
        assert!(!page.body.contains("of the neighbour"), "{path}");
        assert!(page.body.contains(r#"<p class="badge own">own</p>"#), "{path}");
        assert!(page.body.contains(r#"href="/beforeidie""#), "{path}");
    }
    let second = street.get(CLIENTE, "/?page=2").await;
    is_page(&second, 200);
    assert!(second.body.contains("row 51.") && second.body.contains("row 60."));
    assert!(!second.body.contains("row 50."));
    assert!(second.body.contains(r#"<a rel="prev" href="?page=1">"#));
    assert!(!second.body.contains(r#"rel="next""#));
    let past = street.get(CLIENTE, "/mylist?page=9").await;
    is_page(&past, 200);
    assert!(past.body.contains("No rows on page 9."));

    let shared = street.get(CLIENTE, "/beforeidie").await;
    is_page(&shared, 200);
    assert!(shared.body.contains("of everybody") && shared.body.contains(r#"<p class="badge shared">shared</p>"#));

    // The JSON that a page links to holds the rows of that page.
    let (_, link) = second.body.split_once(r#"type="application/json" href=""#).unwrap();
    let link = link
        .split_once('"')
        .unwrap()
        .0
        .replace("&#38;", "&")
        .replace("&amp;", "&");
    let rows = street.get(CLIENTE, &link).await.json();
    let rows = rows.as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["text"]), (10, &"row 51.".into()), "{link}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_front_page_lists_the_tenants() {
    let street = Street::example().await;
    let port = street.edge().address().port();
    let page = street.get(&format!("{ADM}:{port}"), "/").await;
    is_page(&page, 200);
    for tenant in ["adm", "cliente", "cliente2"] {
        let link = format!(r#"<a href="//{tenant}.localhost:{port}/">{tenant}.localhost</a>"#);
        assert!(page.body.contains(&link), "{link}: {}", page.body);
        assert!(page.body.contains(&format!(r#"<td class="lead">{tenant}</td>"#)));
    }
    assert_eq!(page.body.matches(r#"<span class="state live">live</span>"#).count(), 3);
    let found = street.get(ADM, "/?q=cliente2").await;
    is_page(&found, 200);
    assert!(found.body.contains(r#"<td class="lead">cliente2</td>"#));
    assert!(!found.body.contains(r#"<td class="lead">cliente</td>"#));
    let search = street.get(ADM, "/?q=%3Cscript%3E%22").await;
    is_page(&search, 200);
    // A tenant's own page tells nothing of the others.
    let own = street.get("cliente2.localhost", "/").await;
    assert!(!own.body.contains("cliente.localhost") && !own.body.contains("adm.localhost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_pages_too() {
    let street = Street::example().await;
    // The tenant's table is not the operator's.
    for (host, path) in [
        (ADM, "/mylist"),
        (CLIENTE, "/absent"),
        (CLIENTE, "/%3Cscript%3Ealert(1)%3C%2Fscript%3E"),
        (CLIENTE, "/%3Cscript%3E"),
        (CLIENTE, "/pg_roles"),
        (CLIENTE, "/rowhouse_migrations"),
    ] {
        let reply = street.get(host, path).await;
        if path.contains("%2F") {
            assert_eq!(reply.status, 404, "{reply:?}");
            assert!(!reply.body.contains("<script"), "{reply:?}");
            continue;
        }
        is_page(&reply, 404);
        assert!(reply.body.contains(r#"<p class="status">404</p>"#), "{path}");
        assert!(reply.body.contains(r#"<a href="/">"#), "{path}");
    }
    let posted = street.send("POST", CLIENTE, "/", &[], "{}").await;
    is_page(&posted, 405);
    assert_eq!(posted.header("allow"), Some("GET, HEAD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stylesheet_is_served_to_every_tenant() {
    let street = Street::example().await;
    let page = street.get(CLIENTE, "/").await;
    let (_, path) = page.body.split_once(r#"<link rel="stylesheet" href=""#).unwrap();
    let path = path.split_once('"').unwrap().0;
    assert!(path.starts_with("/-/style-"), "{path}");
    let first = street.get(CLIENTE, path).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.header("content-type"), Some("text/css; charset=utf-8"));
    assert!(first.header("cache-control").unwrap_or_default().contains("immutable"));
    assert!(first.body.len() > 1000 && !first.body.contains("@import"));
    // It fetches nothing: what it draws, it holds.
    for address in first.body.split("url(").skip(1) {
        assert!(address.starts_with("\"data:"), "{}", &address[..40]);
    }
    assert_eq!(street.get(ADM, path).await.body, first.body);
    for path in ["/-/style-00000000.css", "/-/../Cargo.toml", "/-/%2e%2e/x", "/-/"] {
        assert_eq!(street.get(CLIENTE, path).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_rows_and_names_is_never_markup() {
    let street = Street::example().await;
    let database = street.superuser().await;
    database
        .batch_execute(
            r#"INSERT INTO cliente.mylist (text, tags, details) VALUES
               ('<script>alert(1)</script>', '{"<img src=x onerror=alert(1)>"}', '{"a": "</pre><script>x</script>"}'),
               ('"><img src=x onerror=alert(1)>', '{}', '{}'), (''' onerror=''x', '{}', '{}'),
               ('</td></tr></table><style>', '{}', '{}');
             CREATE TABLE cliente."<img src=x>" ("<script>" text);
             COMMENT ON TABLE cliente."<img src=x>" IS '<script>comment</script>';
             INSERT INTO cliente."<img src=x>" VALUES ('plain');
             GRANT SELECT ON cliente."<img src=x>" TO rowhouse_cliente_anon"#,
        )
        .await
        .unwrap();
    let page = street.get(CLIENTE, "/").await;
    assert_eq!(page.status, 200);
    for forbidden in ["<script", "<img", "<style", "</td></tr></table><", "</pre><script"] {
        assert!(!page.body.contains(forbidden), "{forbidden}: {}", page.body);
    }
    assert!(
        page.body.contains("&#60;script&#62;alert(1)&#60;/script&#62;"),
        "{}",
        page.body
    );
    let named = street.get(CLIENTE, "/%3Cimg%20src=x%3E").await;
    is_page(&named, 200);
    assert!(named.body.contains("plain") && named.body.contains("comment"));
    // As JSON the same text is whole.
    let json = street.get(CLIENTE, "/api/mylist?id=eq.1&select=text").await;
    assert_eq!(json.json()[0]["text"], "<script>alert(1)</script>");
    assert_eq!(json.header("content-type"), Some("application/json; charset=utf-8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_shown_a_page_whatever_it_asks_for() {
    let street = Street::example().await;
    for path in ["/nothing", "/mylist/1", "/-/x", "/%00", "/a//b"] {
        let browser = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
        let page = street.send("GET", CLIENTE, path, &browser, "").await;
        is_page(&page, 404);
        let id = page.header("x-request-id").unwrap();
        assert!(page.body.contains(id), "{path}: {page:?}");
    }
    let program = street.get(CLIENTE, "/mylist/1").await;
    assert_eq!((program.status, program.code().as_str()), (404, "PGRST125"));
    let style = street.get(CLIENTE, "/").await.body;
    let style = style
        .split('"')
        .find(|text| text.starts_with("/-/style"))
        .unwrap()
        .to_owned();
    assert_eq!(street.get(CLIENTE, &style).await.status, 200);
    let posted = street.send("POST", CLIENTE, &style, &[], "").await;
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_speak_portuguese_to_who_likes_that_better() {
    let street = Street::example().await;
    let portuguese = [("Accept", "text/html"), ("Accept-Language", "pt-PT,pt;q=0.9,en;q=0.8")];
    for (host, path, says) in [
        (CLIENTE, "/", "Ainda não há linhas."),
        (ADM, "/", "Inquilinos"),
        (CLIENTE, "/nothing", "Para a página inicial"),
    ] {
        let page = street.send("GET", host, path, &portuguese, "").await;
        assert!(
            page.body.contains("<html lang=\"pt\">") && page.body.contains(says),
            "{path}: {page:?}"
        );
    }
}

//! The dialect of the data API, a feature a row: what is asked, and what must come back.
//!
//! All tests stand on the library of `tests/fixtures/dialect.sql`, each on one of its own.

use serde_json::{Value, json};

use crate::support::{KEY, Reply, Street, token_for};

const TENANTS: &str = r#"
[tenants.library]
hosts = ["library.localhost"]
managed = false
schemas = ["library", "annex"]
extra_search_path = ["cellar"]
anonymous_role = "lib_reader"
roles = ["lib_clerk", "lib_slow"]
tx_end = "commit-allow-override"
aggregates = true
plan = true
app_settings = ["motto=read more"]

# The other choice of every option.
[tenants.branch]
hosts = ["branch.localhost"]
managed = false
schema = "branch"
anonymous_role = "lib_reader"
roles = ["lib_clerk"]
max_rows = 4
legacy_target_names = false
openapi = "disabled"
cors_origins = ["https://desk.example"]
verbose_errors = false
server_timing = true
tx_end = "rollback"

[tenants.gate]
hosts = ["gate.localhost"]
managed = false
schema = "gate"
anonymous_role = "lib_reader"
roles = ["lib_clerk"]
pre_request = "gate.check_request"
"#;

/// The library, with nothing changed yet.
async fn street() -> Street {
    let street = Street::start("", TENANTS).await;
    let database = street.superuser().await;
    database
        .batch_execute(include_str!("../fixtures/dialect.sql"))
        .await
        .unwrap();
    street
}

/// A request, and what must come back. The tables below write it so; all but the first line and `=>` may be left out:
///
/// ```text
/// @tenant METHOD /path below /api, where what a URL cannot hold is percent-encoded for it
/// > Header: of the request; `As: role` is a token of that role
/// >> line of its body
/// => status, 200 if left out, and body; JSON is compared as such, and of an error only what stands here
/// | further line of the body
/// < Header: of the answer, or `-` if it must not have it
/// ```
#[derive(Default)]
struct Row<'t> {
    request: &'t str,
    headers: Vec<(&'t str, &'t str)>,
    body: Vec<&'t str>,
    status: u16,
    expected_headers: Vec<(&'t str, &'t str)>,
    expected: String,
}

impl<'t> Row<'t> {
    fn all(table: &'t str) -> Vec<Self> {
        let mut rows: Vec<Self> = Vec::new();
        for line in table.lines().map(str::trim) {
            let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
            match mark {
                "" | "#" => {}
                ">" => rows.last_mut().unwrap().headers.push(rest.split_once(": ").unwrap()),
                ">>" => rows.last_mut().unwrap().body.push(rest),
                "=>" => rows.last_mut().unwrap().expect(rest),
                "|" => {
                    let expected = &mut rows.last_mut().unwrap().expected;
                    expected.push('\n');
                    expected.push_str(rest);
                }
                "<" => rows
                    .last_mut()
                    .unwrap()
                    .expected_headers
                    .push(rest.split_once(": ").unwrap()),
                _ => {
                    let (request, answer) = line.split_once(" => ").unwrap_or((line, ""));
                    let mut row = Self {
                        request,
                        ..Self::default()
                    };
                    row.expect(answer);
                    rows.push(row);
                }
            }
        }
        assert!(!rows.is_empty(), "an empty table checks nothing");
        rows
    }

    fn expect(&mut self, answer: &str) {
        let (status, body) = answer.split_once(' ').unwrap_or((answer, ""));
        let known = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        self.status = if known { status.parse().unwrap() } else { 200 };
        self.expected = if known { body } else { answer }.to_owned();
    }
}

/// Sends the requests of a table one after another.
async fn check(street: &Street, table: &str) {
    for row in Row::all(table) {
        let body = row.body.join("\n");
        let reply = send(street, row.request, &row.headers, &body).await;
        let what = format!("{} {:?} {body}", row.request, row.headers);
        assert_eq!(reply.status, row.status, "{what}: {reply:?}");
        for (name, value) in &row.expected_headers {
            assert_eq!(reply.header(name).unwrap_or("-"), *value, "{what}: {name}: {reply:?}");
        }
        check_body(&what, &reply, &row.expected);
    }
}

async fn send(street: &Street, request: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let (tenant, request) = match request.strip_prefix('@') {
        Some(named) => named.split_once(' ').unwrap(),
        None => ("library", request),
    };
    let (method, path) = request.split_once(' ').unwrap();
    let headers: Vec<(&str, String)> = headers
        .iter()
        .map(|&(name, value)| match name {
            "As" => ("Authorization", format!("Bearer {}", token_for(tenant, value, KEY))),
            name => (name, value.to_owned()),
        })
        .collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (host, path) = (format!("{tenant}.localhost"), format!("/api{}", encoded(path)));
    street.send(method, &host, &path, &headers, body).await
}

/// Percent-encodes what may not stand in a URL. A `%` is left, so that a row can also say the bytes itself.
fn encoded(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/?&=%+,:;@!$'()*".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[track_caller]
fn check_body(what: &str, reply: &Reply, expected: &str) {
    let Ok(expected) = serde_json::from_str::<Value>(expected) else {
        assert_eq!(reply.body, expected, "{what}");
        return;
    };
    let mut found = reply.json();
    if let (true, Value::Object(fields)) = (reply.status >= 300, &expected) {
        found
            .as_object_mut()
            .unwrap()
            .retain(|name, _| fields.contains_key(name));
    }
    assert_eq!(found, expected, "{what}: {reply:?}");
}

/// Tables, views, columns, aliases, casts, quoted names and computed fields.
#[tokio::test(flavor = "multi_thread")]
async fn reading() {
    let table = r##"
        GET /authors
        => [{"id":1,"name":"Ada","country":"UK"},{"id":2,"name":"Bruno","country":"BR"},
        | {"id":3,"name":"Chō","country":null},{"id":4,"name":"Dee","country":"UK"}]
        GET /authors?select=id,name&id=eq.1 => [{"id":1,"name":"Ada"}]
        GET /authors?select=id, name&id=eq.1 => [{"id":1,"name":"Ada"}]
        GET /authors?select=&id=eq.3 => [{"id":3,"name":"Chō","country":null}]
        GET /authors?select=*,again:name&id=eq.1 => [{"id":1,"name":"Ada","country":"UK","again":"Ada"}]
        GET /books?select=id::text,cost:price::int,title&id=eq.1 => [{"id":"1","cost":11,"title":"Engines"}]
        GET /books?select=label,id&id=lt.3 => [{"label":"Engines (1)","id":1},{"label":"Engines II (2)","id":2}]
        GET /books?label=eq.Rivers (3)&select=id => [{"id":3}]
        GET /books?order=label.desc&select=id => [{"id":4},{"id":3},{"id":2},{"id":1}]
        GET /cheap_books?select=id,name => [{"id":1,"name":"Engines"},{"id":3,"name":"Rivers"}]
        GET /cheapest_books => [{"id":3,"name":"Rivers","author_id":2}]
        GET /visits?select=id,day
        => [{"id":1,"day":"2024-05-01"},{"id":2,"day":"2024-06-01"},{"id":3,"day":"2025-01-02"}]
        GET /visits_2025
        => 404 {"code":"PGRST205","message":"Could not find the table 'library.visits_2025' in the schema cache"}
        GET /odd;name%20%C3%A9?select="a.dotted","two words"
        => [{"a.dotted":1,"two words":"comma, and \"quote\""},{"a.dotted":2,"two words":"back\\slash"},
        | {"a.dotted":3,"two words":"naïve ☕"}]
        GET /odd;name é?"a.dotted"=eq.2&select=t:"two words","(par)" => [{"t":"back\\slash","(par)":":*"}]
        < content-location: /api/odd%3Bname%20%C3%A9?%22a.dotted%22=eq.2&select=t%3A%22two%20words%22%2C%22%28par%29%22
        GET /odd;name é?"two words"=eq.comma, and "quote"&select="a.dotted" => [{"a.dotted":1}]
        GET /odd;name é?"two words"=in.("comma, and \"quote\"","back\\slash")&select="a.dotted"
        => [{"a.dotted":1},{"a.dotted":2}]
        GET /odd;name é?"(par)"=eq.:*&select="a.dotted" => [{"a.dotted":2}]
        GET /odd;name é?two words=eq.naïve ☕&select="a.dotted" => [{"a.dotted":3}]
        GET /authors?name=eq.Ch%C5%8D&select=id => [{"id":3}]
        GET /books?title=eq.Engines+II&select=id => [{"id":2}]
        GET /books?select=bound,in_print,shelves,measures,added,keywords&id=eq.1
        => [{"bound":"cloth","in_print":true,"shelves":"[1,5)","measures":{"width":10,"height":20},"added":"2024-01-01T12:00:00+00:00","keywords":["tech","old"]}]
        GET /covers?select=book_id,ground => [{"book_id":1,"ground":"#0000FF"},{"book_id":3,"ground":"#00FF00"}]
        GET /covers?ground=eq.%230000ff&select=book_id => [{"book_id":1}]
        GET /covers?ground=in.(%230000FF,%2300FF00)&select=book_id&order=book_id => [{"book_id":1},{"book_id":3}]
        GET /tags?select=id&order=id => [{"id":1},{"id":2},{"id":3}]
        < content-type: application/json; charset=utf-8
        < content-range: 0-2/*
        < content-location: /api/tags?order=id&select=id
        < vary: Accept, Prefer, Range
        < content-length: 28
        HEAD /tags?select=id&order=id => 200
        < content-type: application/json; charset=utf-8
        < content-range: 0-2/*
        < content-length: -
        HEAD /nothing_here => 404
        GET /tagz
        => 404 {"code":"PGRST205","message":"Could not find the table 'library.tagz' in the schema cache","hint":"Perhaps you meant the table 'library.tags'"}
        GET /tags/1 => 404 {"code":"PGRST125"}
        GET /authors?select=nothing => 400 {"code":"42703"}
        GET /authors?nothing=eq.1 => 400 {"code":"42703"}
        GET /authors?order=nothing => 400 {"code":"42703"}
        GET /authors?select=id::nothing => 400 {"code":"42704"}
        GET /authors?id => 400 {"code":"PGRST100"}
        GET /authors?id=1 => 400 {"code":"PGRST100"}
        GET /authors?select=id, => 400 {"code":"PGRST100"}
        GET /authors?select=id( => 400 {"code":"PGRST100"}
        GET /vault => 401 {"code":"42501"}
        GET /vault
        > As: lib_clerk
        => [{"id":1,"gold":1000}]
        GET /members?select=id,name&id=eq.1 => [{"id":1,"name":"Mia"}]
        GET /members?select=pin => 401 {"code":"42501"}
        GET /members => 401 {"code":"42501"}
        GET /parcels => []
        GET /parcels
        > As: lib_clerk
        => [{"id":1,"place":"library"}]
    "##;
    check(&street().await, table).await;
}

/// Every operator, its negation and its quantifiers.
#[tokio::test(flavor = "multi_thread")]
async fn operators() {
    let table = r##"
        GET /books?select=id&id=eq.1 => [{"id":1}]
        GET /books?select=id&id=neq.1 => [{"id":2},{"id":3},{"id":4}]
        GET /books?select=id&price=gt.10 => [{"id":1},{"id":2}]
        GET /books?select=id&price=gte.10.5 => [{"id":1},{"id":2}]
        GET /books?select=id&price=lt.10.5 => [{"id":3}]
        GET /books?select=id&price=lte.10.5 => [{"id":1},{"id":3}]
        GET /books?select=id&id=gt.1&id=lt.4 => [{"id":2},{"id":3}]
        GET /books?select=id&title=like.Eng* => [{"id":1},{"id":2}]
        GET /books?select=id&title=like.%25II => [{"id":2}]
        GET /books?select=id&title=ilike.*RIVER* => [{"id":3}]
        GET /books?select=id&title=match.^E.*s$ => [{"id":1}]
        GET /books?select=id&title=imatch.^e => [{"id":1},{"id":2}]
        GET /books?select=id&id=in.(1,3,99) => [{"id":1},{"id":3}]
        GET /books?select=id&title=in.("Stones, and \"Other\" (Things)",Rivers) => [{"id":3},{"id":4}]
        GET /books?select=id&title=in.("Ri\vers") => [{"id":3}]
        GET /books?select=id&id=in.() => []
        GET /books?select=id&title=in.() => []
        GET /books?select=id&id=not.in.() => [{"id":1},{"id":2},{"id":3},{"id":4}]
        GET /books?select=id&id=not.in.(1,2) => [{"id":3},{"id":4}]
        GET /books?select=id&in_print=is.null => [{"id":3}]
        GET /books?select=id&in_print=is.not_null => [{"id":1},{"id":2},{"id":4}]
        GET /books?select=id&in_print=is.true => [{"id":1},{"id":2}]
        GET /books?select=id&in_print=is.FALSE => [{"id":4}]
        GET /books?select=id&in_print=is.unknown => [{"id":3}]
        GET /books?select=id&in_print=not.is.true => [{"id":3},{"id":4}]
        GET /books?select=id&pages=isdistinct.300 => [{"id":2},{"id":3},{"id":4}]
        GET /books?select=id&pages=not.isdistinct.300 => [{"id":1}]
        GET /books?select=id&keywords=cs.{old} => [{"id":1},{"id":3}]
        GET /books?select=id&keywords=cd.{tech,old,new} => [{"id":1},{"id":2},{"id":4}]
        GET /books?select=id&keywords=ov.{nature,tech} => [{"id":1},{"id":2},{"id":3}]
        GET /books?select=id&keywords=not.cs.{old} => [{"id":2},{"id":4}]
        GET /books?select=id&details=cs.{"lang":"en"} => [{"id":1},{"id":2}]
        GET /books?select=id&shelves=cs.[2,3) => [{"id":1}]
        GET /books?select=id&shelves=ov.[4,6) => [{"id":1},{"id":2}]
        GET /books?select=id&shelves=sl.[5,9) => [{"id":1}]
        GET /books?select=id&shelves=sr.[1,5) => [{"id":2},{"id":3}]
        GET /books?select=id&shelves=nxr.[1,8) => [{"id":1},{"id":2}]
        GET /books?select=id&shelves=nxl.[5,6) => [{"id":2},{"id":3}]
        GET /books?select=id&shelves=adj.[5,8) => [{"id":1},{"id":3}]
        GET /books?select=id&words=fts.engine => [{"id":1},{"id":2}]
        GET /books?select=id&words=fts(english).turning&id=gt.1 => [{"id":2}]
        GET /books?select=id&words=plfts(english).the water => [{"id":3}]
        GET /books?select=id&words=phfts(english).analytical engines => [{"id":1}]
        GET /books?select=id&words=wfts(english).engine -analytical => [{"id":2}]
        GET /books?select=id&words=not.fts.engine => [{"id":3}]
        GET /books?select=id&title=fts.engines => [{"id":1},{"id":2}]
        GET /books?select=id&title=plfts(english).engine => [{"id":1},{"id":2}]
        GET /books?select=id&details=fts.pt => [{"id":3}]
        GET /books?select=id&id=eq(any).{1,2} => [{"id":1},{"id":2}]
        GET /books?select=id&id=gt(all).{1,2} => [{"id":3},{"id":4}]
        GET /books?select=id&id=gte(any).{3,4} => [{"id":3},{"id":4}]
        GET /books?select=id&id=lt(any).{2,3} => [{"id":1},{"id":2}]
        GET /books?select=id&id=lte(all).{2,3} => [{"id":1},{"id":2}]
        GET /books?select=id&title=like(any).{Eng*,Riv*} => [{"id":1},{"id":2},{"id":3}]
        GET /books?select=id&title=like(all).{Eng*,*II} => [{"id":2}]
        GET /books?select=id&title=ilike(any).{riv*} => [{"id":3}]
        GET /books?select=id&title=match(any).{^R,^S} => [{"id":3},{"id":4}]
        GET /books?select=id&title=imatch(all).{^e,ii$} => [{"id":2}]
        GET /books?select=id&id=not.eq(any).{1,2} => [{"id":3},{"id":4}]
        GET /books?select=id&bound=eq.cloth => [{"id":1}]
        GET /books?select=id&bound=gt.paper => [{"id":1},{"id":3}]
        GET /books?select=id&added=eq.2024-01-01T09:00:00-03:00 => [{"id":1},{"id":2},{"id":3},{"id":4}]

        # What an operator cannot do.
        GET /books?id=eq.x => 400 {"code":"22P02"}
        GET /books?bound=eq.glass => 400 {"code":"22P02"}
        GET /books?id=like.1 => 404 {"code":"42883"}
        GET /books?id=cs.{1} => 404 {"code":"42883"}
        GET /books?id=near.1 => 400 {"code":"PGRST100"}
        GET /books?id=is.7 => 400 {"code":"PGRST100"}
        GET /books?id=in.1 => 400 {"code":"PGRST100"}
        GET /books?id=in.( ,3) => 400 {"code":"22P02"}
        GET /books?title=like(some).x => 400 {"code":"PGRST100"}
        GET /books?words=fts(klingon).x => 400 {"code":"42704"}
        GET /books?title=match.( => 400 {"code":"2201B"}
    "##;
    check(&street().await, table).await;
}

/// Parts of JSON, arrays and composite values in select, filters and order.
#[tokio::test(flavor = "multi_thread")]
async fn json_paths() {
    let table = r##"
        GET /books?select=details->lang&id=eq.1 => [{"lang":"en"}]
        GET /books?select=details->>lang&id=eq.1 => [{"lang":"en"}]
        GET /books?select=code:details->isbn->>ten&id=eq.1 => [{"code":"0-1"}]
        GET /books?select=details->isbn&id=eq.1 => [{"isbn":{"ten": "0-1"}}]
        GET /books?select=details->langs->0,last:details->langs->>-1&id=eq.1 => [{"langs":"en","last":"fr"}]
        GET /books?select=details->>n::int&id=eq.2 => [{"n":10}]
        GET /books?select=keywords->0&id=eq.1 => [{"keywords":"tech"}]
        GET /books?select=measures->width,measures->>height&id=eq.1 => [{"width":10,"height":"20"}]
        GET /books?select=id&details->>lang=eq.en => [{"id":1},{"id":2}]
        GET /books?select=id&details->isbn->>ten=eq.0-1 => [{"id":1}]
        GET /books?select=id&details->langs->>1=eq.fr => [{"id":1}]
        GET /books?select=id&details->n=gt.2 => [{"id":2}]
        GET /books?select=id&details->>n=gt.2 => []
        GET /books?select=id&measures->>width=eq.15 => [{"id":3}]
        GET /books?select=id&keywords->>0=eq.nature => [{"id":3}]
        GET /books?select=id&details->nothing=is.null => [{"id":1},{"id":2},{"id":3},{"id":4}]
        GET /books?select=id&order=details->>lang.desc.nullslast,id.desc => [{"id":3},{"id":2},{"id":1},{"id":4}]
        GET /books?select=id&order=details->n.asc.nullslast,id => [{"id":1},{"id":2},{"id":3},{"id":4}]
        GET /books?select=id&or=(details->>lang.eq.pt,details->isbn->>ten.eq.0-1) => [{"id":1},{"id":3}]
        GET /stock?select=id,sheet->w => [{"id":1,"w":1.5},{"id":2,"w":2},{"id":3,"w":null},{"id":4,"w":4}]
        GET /books?select=title->a&id=eq.1 => [{"a":null}]
        GET /books?select=details->&id=eq.1 => 400 {"code":"PGRST100"}
    "##;
    check(&street().await, table).await;
}

/// Trees of and, or and not.
#[tokio::test(flavor = "multi_thread")]
async fn logic() {
    let table = r##"
        GET /books?select=id&or=(id.eq.1,id.eq.3) => [{"id":1},{"id":3}]
        GET /books?select=id&and=(id.gt.1,id.lt.4) => [{"id":2},{"id":3}]
        GET /books?select=id&not.or=(id.eq.1,id.eq.3) => [{"id":2},{"id":4}]
        GET /books?select=id&not.and=(id.gt.1,id.lt.4) => [{"id":1},{"id":4}]
        GET /books?select=id&or=(id.eq.1,and(price.gt.8,title.not.like.*I)) => [{"id":1}]
        GET /books?select=id&or=(id.eq.4,not.and(price.gt.8,bound.eq.paper)) => [{"id":1},{"id":3},{"id":4}]
        GET /books?select=id&and=( or ( id.eq.1 , id.eq.2 ) , id.in.( 2, 3 )) => [{"id":2}]
        GET /books?select=id&or=(id.in.(1,2),title.eq.Rivers) => [{"id":1},{"id":2},{"id":3}]
        GET /books?select=id&or=(title.eq."Stones, and \"Other\" (Things)",id.eq.1) => [{"id":1},{"id":4}]
        GET /books?select=id&or=(keywords.cs.{tech,old},shelves.adj."[8,12)") => [{"id":1},{"id":2}]
        GET /books?select=id&or=(in_print.is.null,pages.not.in.(300,250)) => [{"id":3},{"id":4}]
        GET /books?select=id&or=(words.fts(english).water,words.plfts.analytical) => [{"id":1},{"id":3}]
        GET /books?select=id&or=(id.eq(any).{1,2},title.like(any).{Riv*}) => [{"id":1},{"id":2},{"id":3}]
        GET /books?select=id&or=(id.eq.1,id.eq.2)&or=(id.eq.2,id.eq.3) => [{"id":2}]
        GET /books?select=id&and=(id.eq.1,id.neq.2)) => [{"id":1}]
        GET /books?select=id&or=(id.eq.1 => 400 {"code":"PGRST100"}
        GET /books?select=id&or=(id.eq.1,nothing.eq.2) => 400 {"code":"42703"}
        GET /books?select=id&or=(id.nope.1) => 400 {"code":"PGRST100"}
    "##;
    check(&street().await, table).await;
}

/// What comes first, how much of it, and how many there are.
#[tokio::test(flavor = "multi_thread")]
async fn order_ranges_and_counts() {
    let table = r##"
        GET /books?select=id&order=title => [{"id":1},{"id":2},{"id":3},{"id":4}]
        GET /books?select=id&order=title.desc => [{"id":4},{"id":3},{"id":2},{"id":1}]
        GET /books?select=id&order=price.desc.nullslast,id.asc => [{"id":2},{"id":1},{"id":3},{"id":4}]
        GET /books?select=id&order=price.nullsfirst => [{"id":4},{"id":3},{"id":1},{"id":2}]
        GET /books?select=id&order=bound.desc,id.desc => [{"id":3},{"id":1},{"id":4},{"id":2}]
        GET /books?select=id&order=id.desc&limit=2 => [{"id":4},{"id":3}]
        GET /books?select=id&order=id&limit=2&offset=1 => [{"id":2},{"id":3}]
        GET /books?select=id&order=author_id,id.desc => [{"id":2},{"id":1},{"id":3},{"id":4}]
        GET /books?select=id&limit=0 => []
        < content-range: */*
        GET /books?select=id&order=id&offset=3 => [{"id":4}]
        < content-range: 3-3/*
        GET /books?select=id&id=eq.99 => []
        < content-range: */*
        GET /counted?order=id
        > Range-Unit: items
        > Range: 0-1
        => [{"id":1},{"id":2}]
        < content-range: 0-1/*
        < range-unit: -
        GET /counted?order=id
        > Range: 10-
        => [{"id":11},{"id":12}]
        < content-range: 10-11/*
        GET /counted?order=id&limit=5&offset=2
        > Range: 1-3
        => [{"id":3},{"id":4}]
        < content-range: 2-3/*
        GET /counted?order=id&limit=1
        > Range: 0-5
        => [{"id":1}]
        < content-range: 0-0/*
        HEAD /counted?order=id
        > Range: 0-5
        => 200
        < content-range: 0-11/*
        GET /counted?order=id
        > Range: 50-60
        => []
        < content-range: */*
        GET /counted
        > Range: 5-2
        => 416 {"code":"PGRST103","message":"Requested range not satisfiable","details":"The lower boundary must be lower than or equal to the upper boundary in the Range header."}
        < content-range: -
        [content-range,preference-applied] GET /counted?order=id&limit=2
        > Prefer: count=exact
        => 400
        < content-range: -
        GET /counted?id=lt.5&limit=0
        > Prefer: count=exact
        => 206 []
        < content-range: */4
        GET /counted?id=lt.5&order=id
        > Prefer: count=exact
        => [{"id":1},{"id":2},{"id":3},{"id":4}]
        < content-range: 0-3/4
        HEAD /counted
        > Prefer: count=exact
        => 200
        < content-range: 0-11/12
        < preference-applied: count=exact
        GET /counted?order=id&limit=2
        > Prefer: count=planned
        => 206 [{"id":1},{"id":2}]
        < content-range: 0-1/12
        < preference-applied: count=planned
        GET /counted?order=id&limit=2
        > Prefer: count=estimated
        => 206 [{"id":1},{"id":2}]
        < content-range: 0-1/12
        < preference-applied: count=estimated
        GET /large?select=id&order=id&limit=1
        > Prefer: count=estimated
        => 206 [{"id":1}]
        < content-range: 0-0/1500
        GET /counted?id=gt.99
        > Prefer: count=exact
        => []
        < content-range: */0
        GET /counted?order=id&offset=12
        > Prefer: count=exact
        => 206 []
        < content-range: */12
        GET /counted?offset=13
        > Prefer: count=exact
        => 416 {"code":"PGRST103","message":"Requested range not satisfiable","details":"An offset of 13 was requested, but there are only 12 rows."}
        < content-range: */12
        GET /counted?order=id
        > Range: 20-30
        > Prefer: count=exact
        => 416 {"code":"PGRST103","message":"Requested range not satisfiable","details":"An offset of 20 was requested, but there are only 12 rows."}
        < content-range: */12
        GET /counted?select=id&order=id
        > Range: 10-20
        > Prefer: count=exact
        => 206 [{"id":11},{"id":12}]
        < content-range: 10-11/12
        GET /authors?select=name,books!books_author!inner(id)&books.id=lt.3
        > Prefer: count=exact
        => [{"name":"Ada","books":[{"id":1},{"id":2}]}]
        < content-range: 0-0/1
        GET /counted?limit=-1
        => 416 {"code":"PGRST103","message":"Requested range not satisfiable","details":"Limit should be greater than or equal to zero."}
        GET /counted?offset=-1&id=lt.3
        < content-range: 0-1/*
        => [{"id":1},{"id":2}]
        GET /counted?limit=x => 400 {"code":"PGRST100"}
        GET /books?order=title.up => 400 {"code":"PGRST100"}
        GET /books?order=id.asc.nullsmiddle => 400 {"code":"PGRST100"}

        # At most four rows here.
        @branch GET /children?select=id&order=id => [{"id":1},{"id":2},{"id":3},{"id":4}]
        < content-range: 0-3/*
        @branch GET /children?select=id&order=id&limit=9 => [{"id":1},{"id":2},{"id":3},{"id":4}]
        < content-range: 0-3/*
        @branch GET /children?select=id&order=id
        > Prefer: count=exact
        => 206 [{"id":1},{"id":2},{"id":3},{"id":4}]
        < content-range: 0-3/9
        @branch GET /children?select=id&order=id
        > Prefer: count=estimated
        => 206 [{"id":1},{"id":2},{"id":3},{"id":4}]
        < content-range: 0-3/9
        @branch GET /rpc/all_children?select=id => [{"id":1},{"id":2},{"id":3},{"id":4}]
        < content-range: 0-3/*
        @branch GET /parents?select=id,children(id)&order=id&children.order=id
        => [{"id":1,"children":[{"id":2},{"id":4},{"id":6},{"id":8}]},
        | {"id":2,"children":[{"id":1},{"id":3},{"id":5},{"id":7}]}]
    "##;
    check(&street().await, table).await;
}

/// Related rows by foreign keys in every direction, through views, partitions and functions.
#[tokio::test(flavor = "multi_thread")]
async fn embedding() {
    let table = r##"
        # Many to one: an object or null.
        GET /books?select=id,publishers(name)&order=id
        => [{"id":1,"publishers":{"name":"Hill"}},{"id":2,"publishers":{"name":"Hill"}},
        | {"id":3,"publishers":{"name":"Lake"}},{"id":4,"publishers":null}]
        GET /books?select=id,publishers(*)&id=eq.3 => [{"id":3,"publishers":{"id":2,"name":"Lake"}}]

        # One to many: an array.
        GET /publishers?select=name,books(id)&order=id&books.order=id
        => [{"name":"Hill","books":[{"id":1},{"id":2}]},{"name":"Lake","books":[{"id":3}]}]
        GET /members?select=name,loans(id,taken)&order=id&loans.order=id
        => [{"name":"Mia","loans":[{"id":1,"taken":"2024-02-01"},{"id":2,"taken":"2024-03-01"}]},
        | {"name":"Noé","loans":[{"id":3,"taken":"2024-03-05"}]},{"name":"Ola","loans":[]}]

        # One to one: an object or null, from both sides.
        GET /books?select=id,covers(artist,ground)&order=id
        => [{"id":1,"covers":{"artist":"Eve","ground":"#0000FF"}},{"id":2,"covers":null},
        | {"id":3,"covers":{"artist":null,"ground":"#00FF00"}},{"id":4,"covers":null}]
        GET /covers?select=artist,books(title)&order=book_id
        => [{"artist":"Eve","books":{"title":"Engines"}},{"artist":null,"books":{"title":"Rivers"}}]

        # Many to many over a junction.
        GET /books?select=id,tags(name)&order=id&tags.order=id
        => [{"id":1,"tags":[{"name":"red"},{"name":"green"}]},{"id":2,"tags":[{"name":"red"}]},
        | {"id":3,"tags":[{"name":"blue"}]},{"id":4,"tags":[]}]
        GET /tags?select=name,books(id)&order=id&books.order=id.desc
        => [{"name":"red","books":[{"id":2},{"id":1}]},{"name":"green","books":[{"id":1}]},
        | {"name":"blue","books":[{"id":3}]}]
        GET /books?select=id,book_tags(weight,tags(name))&id=eq.1&book_tags.order=weight
        => [{"id":1,"book_tags":[{"weight":1,"tags":{"name":"green"}},{"weight":5,"tags":{"name":"red"}}]}]

        # Nested at will.
        GET /members?select=name,loans(id,books(title,publishers(name),authors!books_author(name)))&id=eq.1&loans.order=id
        => [{"name":"Mia","loans":[{"id":1,"books":{"title":"Engines","publishers":{"name":"Hill"},"authors":{"name":"Ada"}}},{"id":2,"books":{"title":"Rivers","publishers":{"name":"Lake"},"authors":{"name":"Bruno"}}}]}]

        # Aliases.
        GET /books?select=id,house:publishers(called:name)&id=eq.3 => [{"id":3,"house":{"called":"Lake"}}]
        GET /books?select=id,writer:authors!books_author(name),corrector:authors!books_editor(name)&order=id
        => [{"id":1,"writer":{"name":"Ada"},"corrector":{"name":"Bruno"}},
        | {"id":2,"writer":{"name":"Ada"},"corrector":null},
        | {"id":3,"writer":{"name":"Bruno"},"corrector":{"name":"Ada"}},
        | {"id":4,"writer":{"name":"Chō"},"corrector":null}]

        # Hints: a constraint, a column, a junction.
        GET /books?select=id,authors!author_id(name)&id=lt.3&order=id
        => [{"id":1,"authors":{"name":"Ada"}},{"id":2,"authors":{"name":"Ada"}}]
        GET /books?select=id,authors!editor_id(name)&id=lt.3&order=id
        => [{"id":1,"authors":{"name":"Bruno"}},{"id":2,"authors":null}]
        GET /authors?select=id,books!books_editor(id)&order=id
        => [{"id":1,"books":[{"id":3}]},{"id":2,"books":[{"id":1}]},{"id":3,"books":[]},{"id":4,"books":[]}]
        GET /books?select=id,tags!book_tags(id)&id=eq.1&tags.order=id => [{"id":1,"tags":[{"id":1},{"id":2}]}]
        GET /books?select=id,editor_id(name)&id=eq.1 => [{"id":1,"editor_id":{"name":"Bruno"}}]
        GET /books?select=id,books_author(name)&id=eq.1 => [{"id":1,"books_author":{"name":"Ada"}}]

        # A relation to itself.
        GET /books?select=id,before:sequel_of(id)&id=lt.3&order=id
        => [{"id":1,"before":null},{"id":2,"before":{"id":1}}]
        GET /books?select=id,after:books!sequel_of(id)&id=lt.3&order=id
        => [{"id":1,"after":[{"id":2}]},{"id":2,"after":[]}]

        # Views, views of views, partitions.
        GET /cheap_books?select=name,publishers(name)&order=id
        => [{"name":"Engines","publishers":{"name":"Hill"}},{"name":"Rivers","publishers":{"name":"Lake"}}]
        GET /publishers?select=name,cheap_books(name)&order=id
        => [{"name":"Hill","cheap_books":[{"name":"Engines"}]},{"name":"Lake","cheap_books":[{"name":"Rivers"}]}]
        GET /cheap_books?select=name,authors(name)&order=id
        => [{"name":"Engines","authors":{"name":"Ada"}},{"name":"Rivers","authors":{"name":"Bruno"}}]
        GET /cheapest_books?select=name,authors(name),tags(name)
        => [{"name":"Rivers","authors":{"name":"Bruno"},"tags":[{"name":"blue"}]}]
        GET /cheap_books?select=name,covers(artist)&order=id
        => [{"name":"Engines","covers":{"artist":"Eve"}},{"name":"Rivers","covers":{"artist":null}}]
        GET /books?select=id,author_names!books_author(name)&id=eq.3 => [{"id":3,"author_names":{"name":"Bruno"}}]
        GET /visits?select=id,members(name)&order=id
        => [{"id":1,"members":{"name":"Mia"}},{"id":2,"members":{"name":"Noé"}},{"id":3,"members":{"name":"Mia"}}]
        GET /members?select=name,visits(id)&order=id&visits.order=id
        => [{"name":"Mia","visits":[{"id":1},{"id":3}]},{"name":"Noé","visits":[{"id":2}]},
        | {"name":"Ola","visits":[]}]

        # Computed relationships.
        GET /books?select=id,cheaper(id)&order=id
        => [{"id":1,"cheaper":[{"id":3}]},{"id":2,"cheaper":[{"id":1},{"id":3}]},{"id":3,"cheaper":[]},
        | {"id":4,"cheaper":[]}]
        GET /books?select=id,last_loan(id,members(name))&order=id
        => [{"id":1,"last_loan":{"id":3,"members":{"name":"Noé"}}},{"id":2,"last_loan":null},
        | {"id":3,"last_loan":{"id":2,"members":{"name":"Mia"}}},{"id":4,"last_loan":null}]
        GET /books?select=id,...last_loan(taken)&order=id
        => [{"id":1,"taken":"2024-03-05"},{"id":2,"taken":null},{"id":3,"taken":"2024-03-01"},{"id":4,"taken":null}]
        GET /books?select=id&order=last_loan(taken)
        => 400 {"code":"PGRST108","message":"'last_loan' is not an embedded resource in this request","hint":"Verify that 'last_loan' is included in the 'select' query parameter."}

        # What a function or a write answers with.
        GET /rpc/books_of?author=1&select=id,publishers(name)
        => [{"id":1,"publishers":{"name":"Hill"}},{"id":2,"publishers":{"name":"Hill"}}]
        GET /rpc/book?id=3&select=title,tags(name) => {"title":"Rivers","tags":[{"name":"blue"}]}
        POST /loans?select=id,members(name),books(title)
        > As: lib_clerk
        > Prefer: return=representation
        >> {"id":9,"member_id":3,"book_id":2,"taken":"2024-04-01"}
        => 201 [{"id":9,"members":{"name":"Ola"},"books":{"title":"Engines II"}}]
        PATCH /loans?id=eq.9&select=id,books(title)
        > As: lib_clerk
        > Prefer: return=representation
        >> {"book_id":3}
        => [{"id":9,"books":{"title":"Rivers"}}]
        DELETE /loans?id=eq.9&select=id,members(name)
        > As: lib_clerk
        > Prefer: return=representation
        => [{"id":9,"members":{"name":"Ola"}}]

        # Filters, order and range inside.
        GET /publishers?select=name,books(id)&books.price=gt.11&order=id
        => [{"name":"Hill","books":[{"id":2}]},{"name":"Lake","books":[]}]
        GET /publishers?select=name,books(id)&books.or=(id.eq.1,id.eq.3)&order=id
        => [{"name":"Hill","books":[{"id":1}]},{"name":"Lake","books":[{"id":3}]}]
        GET /publishers?select=name,books(id)&books.order=id.desc&books.limit=1&order=id
        => [{"name":"Hill","books":[{"id":2}]},{"name":"Lake","books":[{"id":3}]}]
        GET /publishers?select=name,books(id)&books.order=id&books.offset=1&order=id
        => [{"name":"Hill","books":[{"id":2}]},{"name":"Lake","books":[]}]
        GET /members?select=name,loans(id,books(id,tags(name)))&loans.books.tags.name=eq.red&loans.order=id&id=eq.1
        => [{"name":"Mia","loans":[{"id":1,"books":{"id":1,"tags":[{"name":"red"}]}},{"id":2,"books":{"id":3,"tags":[]}}]}]

        # Inner: rows without related ones are left out.
        GET /books?select=id,publishers!inner(name)&order=id
        => [{"id":1,"publishers":{"name":"Hill"}},{"id":2,"publishers":{"name":"Hill"}},
        | {"id":3,"publishers":{"name":"Lake"}}]
        GET /books?select=id,publishers!inner(name)&publishers.name=eq.Lake => [{"id":3,"publishers":{"name":"Lake"}}]
        GET /books?select=id,authors!books_editor!inner(name)&order=id
        => [{"id":1,"authors":{"name":"Bruno"}},{"id":3,"authors":{"name":"Ada"}}]
        GET /publishers?select=name,books!inner(id,tags!inner(name))&books.tags.name=eq.blue
        => [{"name":"Lake","books":[{"id":3,"tags":[{"name":"blue"}]}]}]
        GET /books?select=id,publishers!left(name)&publishers.name=eq.Lake&order=id
        => [{"id":1,"publishers":null},{"id":2,"publishers":null},{"id":3,"publishers":{"name":"Lake"}},
        | {"id":4,"publishers":null}]
        GET /books?select=id,covers!inner()&order=id => [{"id":1},{"id":3}]
        GET /books?select=id,publishers()&id=eq.1 => [{"id":1}]

        # Whether there are related rows.
        GET /books?select=id,publishers(name)&publishers=is.null => [{"id":4,"publishers":null}]
        GET /books?select=id,publishers()&publishers=not.is.null&order=id => [{"id":1},{"id":2},{"id":3}]
        GET /authors?select=id,books!books_author()&books=is.null => [{"id":4}]
        GET /authors?select=id,books!books_author()&books=not.is.null&order=id => [{"id":1},{"id":2},{"id":3}]
        GET /books?select=id,covers(),publishers()&or=(covers.is.null,publishers.is.null)&order=id
        => [{"id":2},{"id":4}]
        GET /books?select=id,covers(),publishers()&or=(covers.not.is.null,id.eq.4)&order=id
        => [{"id":1},{"id":3},{"id":4}]
        GET /books?select=id,tags()&tags.name=eq.red&tags=not.is.null&order=id => [{"id":1},{"id":2}]
        GET /books?select=id,publishers()&publishers=eq.1
        => 400 {"code":"PGRST120","message":"Bad operator on the 'publishers' embedded resource","details":"Only is null or not is null filters are allowed on embedded resources"}

        # Order by a related row.
        GET /books?select=id,publishers(name)&order=publishers(name).desc.nullslast,id
        => [{"id":3,"publishers":{"name":"Lake"}},{"id":1,"publishers":{"name":"Hill"}},
        | {"id":2,"publishers":{"name":"Hill"}},{"id":4,"publishers":null}]
        GET /books?select=id,covers(artist)&order=covers(artist).asc.nullslast,id
        => [{"id":1,"covers":{"artist":"Eve"}},{"id":2,"covers":null},{"id":3,"covers":{"artist":null}},
        | {"id":4,"covers":null}]
        GET /books?select=id,house:publishers(name)&order=house(name),id.desc
        => [{"id":2,"house":{"name":"Hill"}},{"id":1,"house":{"name":"Hill"}},{"id":3,"house":{"name":"Lake"}},
        | {"id":4,"house":null}]
        GET /publishers?select=id,books(id)&order=books(id)
        => 400 {"code":"PGRST118","message":"A related order on 'books' is not possible","details":"'publishers' and 'books' do not form a many-to-one or one-to-one relationship"}

        # A name that has an alias: the alias is what counts, and the other still works.
        GET /publishers?select=name,works:books(id)&works.id=eq.3&order=id
        => [{"name":"Hill","works":[]},{"name":"Lake","works":[{"id":3}]}]
        < warning: -
        GET /publishers?select=name,works:books(id)&books.id=eq.3&order=id
        => [{"name":"Hill","works":[]},{"name":"Lake","works":[{"id":3}]}]
        < warning: 299 PostgRESTv16 "Embedded resource was referenced by relation name even though it has an alias. This is deprecated and will stop working in a future release. Update `books` to `works` in query string filters, orders or limits."
        @branch GET /parents?select=id,kids:children(id)&kids.id=lt.3&order=id
        => [{"id":1,"kids":[{"id":2}]},{"id":2,"kids":[{"id":1}]}]
        @branch GET /parents?select=id,kids:children(id)&children.id=lt.3&order=id
        => 400 {"code":"PGRST108","message":"'children' is not an embedded resource in this request"}

        # What is not there.
        GET /books?select=id&publishers.name=eq.Lake
        => 400 {"code":"PGRST108","message":"'publishers' is not an embedded resource in this request","hint":"Verify that 'publishers' is included in the 'select' query parameter."}
        GET /books?select=id&publishers.order=name
        => 400 {"code":"PGRST108","message":"'publishers' is not an embedded resource in this request","hint":"Verify that 'publishers' is included in the 'select' query parameter."}
        GET /books?select=id,publisher(name)
        => 400 {"code":"PGRST200","message":"Could not find a relationship between 'books' and 'publisher' in the schema cache","details":"Searched for a foreign key relationship between 'books' and 'publisher' in the schema 'library', but no matches were found.","hint":"Perhaps you meant 'publishers' instead of 'publisher'."}
        GET /books?select=id,publishers!nothing(name)
        => 400 {"code":"PGRST200","message":"Could not find a relationship between 'books' and 'publishers' in the schema cache","details":"Searched for a foreign key relationship between 'books' and 'publishers' using the hint 'nothing' in the schema 'library', but no matches were found."}
        GET /books?select=id,publishers(nothing) => 400 {"code":"42703"}
    "##;
    check(&street().await, table).await;
}

/// Columns of related rows among those of the row itself.
#[tokio::test(flavor = "multi_thread")]
async fn spreads() {
    let table = r##"
        GET /books?select=id,...publishers(name)&order=id
        => [{"id":1,"name":"Hill"},{"id":2,"name":"Hill"},{"id":3,"name":"Lake"},{"id":4,"name":null}]
        GET /books?select=id,...publishers(house:name,id_too:id)&id=eq.1 => [{"id":1,"house":"Hill","id_too":1}]
        GET /books?select=id,...covers(artist,ground)&order=id
        => [{"id":1,"artist":"Eve","ground":"#0000FF"},{"id":2,"artist":null,"ground":null},
        | {"id":3,"artist":null,"ground":"#00FF00"},{"id":4,"artist":null,"ground":null}]
        GET /loans?select=id,...books(title,...publishers(house:name))&order=id
        => [{"id":1,"title":"Engines","house":"Hill"},{"id":2,"title":"Rivers","house":"Lake"},
        | {"id":3,"title":"Engines","house":"Hill"}]
        GET /loans?select=id,...books(title,tags(name))&id=eq.2
        => [{"id":2,"title":"Rivers","tags":[{"name":"blue"}]}]
        GET /publishers?select=name,...books(ids:id,prices:price)&order=id
        => [{"name":"Hill","ids":[1, 2],"prices":[10.50, 12.00]},{"name":"Lake","ids":[3],"prices":[7.25]}]
        GET /publishers?select=name,...books(id,price)&books.order=price.desc&order=id
        => [{"name":"Hill","id":[2, 1],"price":[12.00, 10.50]},{"name":"Lake","id":[3],"price":[7.25]}]
        GET /books?select=id,...tags(tags:name)&order=id&tags.order=name
        => [{"id":1,"tags":["green", "red"]},{"id":2,"tags":["red"]},{"id":3,"tags":["blue"]},{"id":4,"tags":[]}]
        GET /members?select=name,...loans(returned)&order=id&loans.order=id
        => [{"name":"Mia","returned":["2024-02-10", null]},{"name":"Noé","returned":["2024-03-06"]},
        | {"name":"Ola","returned":[]}]
        GET /publishers?select=name,...books(id,...tags(tag:name))&order=id&books.order=id
        => [{"name":"Hill","id":[1, 2],"tag":[["red", "green"], ["red"]]},{"name":"Lake","id":[3],"tag":[["blue"]]}]
        GET /books?select=id,...publishers!inner(name)&publishers.name=eq.Lake => [{"id":3,"name":"Lake"}]
        GET /books?select=id,...publishers()&id=eq.1 => [{"id":1}]
        GET /books?select=id,...house:publishers(name)&id=eq.1 => 400 {"code":"PGRST100"}
        GET /authors?select=name,...books!books_author(count())&order=id
        => 400 {"code":"PGRST127","message":"Feature not implemented","details":"Aggregates are not implemented for one-to-many or many-to-many spreads."}
    "##;
    check(&street().await, table).await;
}

/// Several relationships between two tables, and several functions of a name.
#[tokio::test(flavor = "multi_thread")]
async fn ambiguity() {
    let table = r##"
        GET /books?select=id,authors(name)
        => 300 {"code":"PGRST201","message":"Could not embed because more than one relationship was found for 'books' and 'authors'","details":[{"cardinality":"many-to-one","embedding":"books with authors","relationship":"books_author using books(author_id) and authors(id)"},{"cardinality":"many-to-one","embedding":"books with authors","relationship":"books_editor using books(editor_id) and authors(id)"}],"hint":"Try changing 'authors' to one of the following: 'authors!books_author', 'authors!books_editor'. Find the desired relationship in the 'details' key."}
        GET /authors?select=id,books(id)
        => 300 {"code":"PGRST201","message":"Could not embed because more than one relationship was found for 'authors' and 'books'","details":[{"cardinality":"one-to-many","embedding":"authors with books","relationship":"books_author using authors(id) and books(author_id)"},{"cardinality":"one-to-many","embedding":"authors with books","relationship":"books_editor using authors(id) and books(editor_id)"}],"hint":"Try changing 'books' to one of the following: 'books!books_author', 'books!books_editor'. Find the desired relationship in the 'details' key."}
        GET /books?select=id,books(id)
        => [{"id":1,"books":[{"id":2}]},{"id":2,"books":[]},{"id":3,"books":[]},{"id":4,"books":[]}]
        GET /rpc/twice?v=1
        => 300 {"code":"PGRST203","hint":"Try renaming the parameters or the function itself in the database so function overloading can be resolved"}
        POST /rpc/twice
        >> {"v":1}
        => 300 {"code":"PGRST203","hint":"Try renaming the parameters or the function itself in the database so function overloading can be resolved"}
        GET /rpc/area?side=3 => 200 9
        GET /rpc/area?width=3&height=4 => 200 12
    "##;
    check(&street().await, table).await;
}

/// Sums, averages, extremes and counts, by group, inside embeds and spreads.
#[tokio::test(flavor = "multi_thread")]
async fn aggregates() {
    let table = r##"
        GET /stock?select=count() => [{"count":4}]
        GET /stock?select=copies.sum(),copies.avg(),copies.min(),copies.max(),copies.count()
        => [{"sum":11,"avg":3.6666666666666667,"min":1,"max":6,"count":3}]
        GET /stock?select=place,copies.sum()&order=place => [{"place":"north","sum":5},{"place":"south","sum":6}]
        GET /stock?select=place,how_many:count(),most:paid.max()&order=place
        => [{"place":"north","how_many":2,"most":20.00},{"place":"south","how_many":2,"most":30.50}]
        GET /stock?select=paid.sum()::int,w:sheet->w::numeric.sum() => [{"sum":60,"w":7.5}]
        GET /stock?select=place,copies.sum()&place=eq.north => [{"place":"north","sum":5}]
        GET /stock?select=id.count()&copies=gt.3 => [{"count":2}]
        GET /books?select=title,stock(copies.sum())&order=id&id=lt.3
        => [{"title":"Engines","stock":[{"sum":10}]},{"title":"Engines II","stock":[{"sum":1}]}]
        GET /books?select=id,stock(place,count())&id=eq.1&stock.order=place
        => [{"id":1,"stock":[{"place":"north","count":1},{"place":"south","count":1}]}]
        GET /stock?select=copies.sum(),...books(title)&order=books(title)
        => [{"sum":10,"title":"Engines"},{"sum":1,"title":"Engines II"},{"sum":null,"title":"Rivers"}]
        GET /stock?select=...books(pages.sum(),title)&order=books(title)
        => [{"sum":600,"title":"Engines"},{"sum":250,"title":"Engines II"},{"sum":null,"title":"Rivers"}]
        GET /stock?select=place,books(title),copies.sum()&order=place
        => [{"place":"north","books":{"title": "Engines"},"sum":4},
        | {"place":"north","books":{"title": "Engines II"},"sum":1},
        | {"place":"south","books":{"title": "Engines"},"sum":6},
        | {"place":"south","books":{"title": "Rivers"},"sum":null}]
        GET /stock?select=nothing.sum() => 400 {"code":"42703"}
        GET /stock?select=copies.median() => 400 {"code":"PGRST100"}
        @branch GET /children?select=count()
        => 400 {"code":"PGRST123","message":"Use of aggregate functions is not allowed"}
        @branch GET /parents?select=id,children(count())
        => 400 {"code":"PGRST123","message":"Use of aggregate functions is not allowed"}
    "##;
    check(&street().await, table).await;
}

/// One row, many rows, no row; what is left out, what comes back, and in which format.
#[tokio::test(flavor = "multi_thread")]
async fn inserts() {
    let table = r##"
        POST /tags
        > As: lib_clerk
        >> {"id":10,"name":"ten"}
        => 201
        < content-range: */*
        < location: -
        < preference-applied: -
        < content-length: 0
        POST /tags
        > As: lib_clerk
        > Prefer: return=representation
        >> {"id":11,"name":"eleven"}
        => 201 [{"id":11,"name":"eleven"}]
        < content-range: */*
        < preference-applied: return=representation
        < content-type: application/json; charset=utf-8
        POST /tags
        > As: lib_clerk
        > Prefer: return=minimal
        >> {"id":12,"name":"twelve"}
        => 201
        < content-range: */*
        < preference-applied: return=minimal
        < content-length: 0
        POST /tags
        > As: lib_clerk
        > Prefer: return=headers-only
        >> {"id":13,"name":"thirteen"}
        => 201
        < location: /api/tags?id=eq.13
        < preference-applied: return=headers-only
        POST /notes
        > As: lib_clerk
        > Prefer: return=headers-only
        >> {"shelf":"a b/ç","slot":7}
        => 201
        < location: /api/notes?shelf=eq.a%20b%2F%C3%A7&slot=eq.7
        POST /tags
        > As: lib_clerk
        > Prefer: return=headers-only
        >> [{"id":14,"name":"a"},{"id":15,"name":"b"}]
        => 201
        < location: -
        < preference-applied: return=headers-only
        POST /keyless
        > As: lib_clerk
        > Prefer: return=headers-only
        >> {"a":5,"b":"five"}
        => 201
        < location: -
        POST /tags?select=id
        > As: lib_clerk
        > Prefer: return=representation
        >> [{"id":16,"name":"c"},{"id":17,"name":"d"}]
        => 201 [{"id":16},{"id":17}]
        POST /tags
        > As: lib_clerk
        > Prefer: return=representation
        >> []
        => 201 []
        POST /tags?select=id,again:name,books(id)
        > As: lib_clerk
        > Prefer: return=representation
        >> {"id":18,"name":"e"}
        => 201 [{"id":18,"again":"e","books":[]}]

        # Defaults, generated and identity columns.
        POST /members?select=id,name
        > As: lib_clerk
        > Prefer: return=representation
        >> {"name":"Pia"}
        => 201 [{"id":4,"name":"Pia"}]
        POST /books?select=id,title,bound,pages,title_length
        > As: lib_clerk
        > Prefer: return=representation
        >> {"title":"New","author_id":4}
        => 201 [{"id":100,"title":"New","bound":"paper","pages":1,"title_length":3}]
        POST /keyless
        > As: lib_clerk
        > Prefer: return=representation
        >> {}
        => 201 [{"a":null,"b":null}]
        POST /keyless
        > As: lib_clerk
        > Prefer: return=representation
        >> [{}]
        => 201 [{"a":null,"b":null}]
        POST /notes?select=shelf,slot,body,stars
        > As: lib_clerk
        > Prefer: return=representation
        >> [{"shelf":"c","slot":1,"body":null,"stars":5}]
        => 201 [{"shelf":"c","slot":1,"body":null,"stars":5}]

        # Rows with different keys need columns; what a row leaves out is NULL, or its default.
        POST /notes
        > As: lib_clerk
        >> [{"shelf":"d","slot":1},{"shelf":"d","slot":2,"body":"x"}]
        => 400 {"code":"PGRST102","message":"All object keys must match"}
        POST /notes?columns=shelf,slot,body&select=slot,body,stars
        > As: lib_clerk
        > Prefer: return=representation
        >> [{"shelf":"d","slot":1},{"shelf":"d","slot":2,"body":"x","junk":1}]
        => 201 [{"slot":1,"body":null,"stars":3},{"slot":2,"body":"x","stars":3}]
        POST /notes?columns="shelf","slot","body"&select=slot,body,stars
        > As: lib_clerk
        > Prefer: return=representation, missing=default
        >> [{"shelf":"d","slot":3},{"shelf":"d","slot":4,"body":"x"}]
        => 201 [{"slot":3,"body":"empty","stars":3},{"slot":4,"body":"x","stars":3}]
        < preference-applied: missing=default, return=representation
        POST /notes?columns=shelf,nothing
        > As: lib_clerk
        >> [{"shelf":"d","slot":1}]
        => 400 {"code":"PGRST204","message":"Could not find the 'nothing' column of 'notes' in the schema cache"}
        POST /notes?columns=
        > As: lib_clerk
        >> {"shelf":"d","slot":1}
        => 400 {"code":"PGRST100"}
        POST /notes
        > As: lib_clerk
        >> {"shelf":"d","slot":1,"nothing":1}
        => 400 {"code":"PGRST204","message":"Could not find the 'nothing' column of 'notes' in the schema cache"}

        # Other formats.
        POST /tags?select=id,name
        > As: lib_clerk
        > Prefer: return=representation
        > Content-Type: text/csv
        >> id,name
        >> 20,"a, ""b"""
        >> 21,plain
        => 201 [{"id":20,"name":"a, \"b\""},{"id":21,"name":"plain"}]
        POST /notes?select=slot,body,stars
        > As: lib_clerk
        > Prefer: return=representation
        > Content-Type: text/csv
        >> shelf,slot,body,stars
        >> csv,1,NULL,2
        >> csv,2,,NULL
        => 201 [{"slot":1,"body":null,"stars":2},{"slot":2,"body":"","stars":null}]
        POST /tags
        > As: lib_clerk
        > Content-Type: text/csv
        >> id,name
        >> 22
        => 400 {"code":"PGRST102","message":"All lines must have same number of fields"}
        POST /tags?select=id,name
        > As: lib_clerk
        > Prefer: return=representation
        > Content-Type: application/x-www-form-urlencoded
        >> id=30&name=a+b%26c
        => 201 [{"id":30,"name":"a b&c"}]
        POST /tags
        > As: lib_clerk
        > Content-Type: application/msgpack
        >> x
        => 400 {"code":"PGRST102","message":"Content-Type not acceptable: application/msgpack"}
        POST /tags
        > As: lib_clerk
        > Content-Type: application/json; charset=utf-8
        >> {"id":31,"name":"x"}
        => 201

        # Values of every kind.
        POST /books?select=id,price,bound,details,keywords,shelves,measures
        > As: lib_clerk
        > Prefer: return=representation
        >> {"title":"Kinds","author_id":1,"price":1.10,"bound":"leather","details":{"a":[1]},"keywords":["x","y z"],"shelves":"[1,3)","measures":{"width":1,"height":2}}
        => 201 [{"id":101,"price":1.10,"bound":"leather","details":{"a": [1]},"keywords":["x","y z"],"shelves":"[1,3)","measures":{"width":1,"height":2}}]
        POST /covers
        > As: lib_clerk
        > Prefer: return=representation
        >> {"book_id":2,"ground":"#ff8000"}
        => 201 [{"book_id":2,"ground":"#FF8000","artist":null}]

        # A view that can be written to, one with a trigger, one that can not.
        POST /author_names
        > As: lib_clerk
        > Prefer: return=representation
        >> {"id":9,"name":"Ivo"}
        => 201 [{"id":9,"name":"Ivo"}]
        POST /inbox
        > As: lib_clerk
        > Prefer: return=representation
        >> {"shelf":"post","body":"hi"}
        => 201 [{"shelf":"post","body":"hi"}]
        POST /titles
        > As: lib_clerk
        >> {"title":"x"}
        => 500 {"code":"55000"}

        # What Postgres refuses.
        POST /tags
        > As: lib_clerk
        >> {"id":1,"name":"again"}
        => 409 {"code":"23505","details":"Key (id)=(1) already exists."}
        POST /loans
        > As: lib_clerk
        >> {"id":90,"member_id":1,"book_id":999,"taken":"2024-01-01"}
        => 409 {"code":"23503","details":"Key (book_id)=(999) is not present in table \"books\"."}
        POST /tags
        > As: lib_clerk
        >> {"id":91}
        => 400 {"code":"23502"}
        POST /tags
        > As: lib_clerk
        >> {"id":"x","name":"y"}
        => 400 {"code":"22P02"}
        POST /books
        > As: lib_clerk
        >> {"title":"x","author_id":1,"title_length":3}
        => 400 {"code":"428C9","details":"Column \"title_length\" is a generated column."}
        POST /members
        > As: lib_clerk
        >> {"name":"x","pin":"1"}
        => 403 {"code":"42501"}
        POST /members?select=name
        > As: lib_clerk
        > Prefer: return=representation
        >> {"id":7,"name":"x"}
        => 400 {"code":"428C9","details":"Column \"id\" is an identity column defined as GENERATED ALWAYS."}
        POST /tags
        >> {"id":92,"name":"nobody"}
        => 401 {"code":"42501"}
        POST /vault
        > As: lib_clerk
        >> {"id":2}
        => 403 {"code":"42501"}
        POST /tags
        > As: lib_clerk
        >> {"id":
        => 400 {"code":"PGRST102","message":"Empty or invalid json"}
        POST /tags
        > As: lib_clerk
        => 400 {"code":"PGRST102","message":"Empty or invalid json"}
        POST /tags
        > As: lib_clerk
        >> 7
        => 400 {"code":"PGRST102","message":"Empty or invalid json"}
        POST /nothing_here
        > As: lib_clerk
        >> {}
        => 404 {"code":"PGRST205","message":"Could not find the table 'library.nothing_here' in the schema cache"}
        GET /tags?select=id&id=gt.9&order=id
        => [{"id":10},{"id":11},{"id":12},{"id":13},{"id":14},{"id":15},{"id":16},{"id":17},{"id":18},{"id":20},
        | {"id":21},{"id":30},{"id":31}]
    "##;
    check(&street().await, table).await;
}

/// Rows that may be there already: merged, left alone, or put in their place.
#[tokio::test(flavor = "multi_thread")]
async fn upserts() {
    let table = r##"
        POST /notes?select=slot,body,stars
        > As: lib_clerk
        > Prefer: resolution=merge-duplicates, return=representation
        >> [{"shelf":"a","slot":1,"body":"merged"},{"shelf":"z","slot":1,"body":"new"}]
        => 201 [{"slot":1,"body":"merged","stars":1},{"slot":1,"body":"new","stars":3}]
        < preference-applied: resolution=merge-duplicates, return=representation
        POST /notes?select=slot,body
        > As: lib_clerk
        > Prefer: resolution=merge-duplicates, return=representation
        >> {"shelf":"a","slot":1,"body":"again"}
        => [{"slot":1,"body":"again"}]
        < preference-applied: resolution=merge-duplicates, return=representation
        POST /notes
        > As: lib_clerk
        > Prefer: resolution=merge-duplicates
        >> {"shelf":"a","slot":1,"body":"quiet"}
        => 200
        < preference-applied: resolution=merge-duplicates
        POST /notes
        > As: lib_clerk
        > Prefer: resolution=ignore-duplicates, return=representation
        >> [{"shelf":"a","slot":1,"body":"no"},{"shelf":"z","slot":2,"body":"yes"}]
        => 201 [{"shelf":"z","slot":2,"body":"yes","stars":3,"slug":null}]
        < preference-applied: resolution=ignore-duplicates, return=representation
        POST /notes
        > As: lib_clerk
        > Prefer: resolution=ignore-duplicates, return=representation
        >> {"shelf":"a","slot":1,"body":"no"}
        => 201 []
        POST /notes?on_conflict=slug&select=shelf,slot,body
        > As: lib_clerk
        > Prefer: resolution=merge-duplicates, return=representation
        >> {"shelf":"y","slot":9,"slug":"s2","body":"by slug"}
        => [{"shelf":"y","slot":9,"body":"by slug"}]
        POST /notes?on_conflict=shelf,slot&columns=shelf,slot,stars&select=slot,body,stars
        > As: lib_clerk
        > Prefer: resolution=merge-duplicates, return=representation
        >> [{"shelf":"a","slot":1,"stars":9,"body":"not this"}]
        => [{"slot":1,"body":"quiet","stars":9}]
        POST /notes?columns=shelf,slot,stars&select=slot,stars
        > As: lib_clerk
        > Prefer: resolution=merge-duplicates, missing=default, return=representation
        >> [{"shelf":"a","slot":1}]
        => [{"slot":1,"stars":3}]
        POST /tags
        > As: lib_clerk
        > Prefer: resolution=merge-duplicates, return=representation
        >> {"id":1,"name":"crimson"}
        => [{"id":1,"name":"crimson"}]
        POST /notes?on_conflict=stars
        > As: lib_clerk
        > Prefer: resolution=merge-duplicates
        >> {"shelf":"a","slot":1,"stars":1}
        => 400 {"code":"42P10"}
        POST /notes?on_conflict=nothing
        > As: lib_clerk
        > Prefer: resolution=merge-duplicates
        >> {"shelf":"a","slot":1}
        => 400 {"code":"42703"}
        POST /notes
        > As: lib_clerk
        > Prefer: resolution=merge-duplicates
        >> [{"shelf":"q","slot":1},{"shelf":"q","slot":1}]
        => 400 {"code":"21000"}
        POST /keyless
        > As: lib_clerk
        > Prefer: resolution=merge-duplicates, return=representation
        >> {"a":1}
        => 201 [{"a":1,"b":null}]
        < preference-applied: return=representation

        # PUT: the row with this key.
        PUT /tags?id=eq.2
        > As: lib_clerk
        > Prefer: return=representation
        >> {"id":2,"name":"lime"}
        => [{"id":2,"name":"lime"}]
        PUT /tags?id=eq.2
        > As: lib_clerk
        >> {"id":2,"name":"olive"}
        => 204
        PUT /tags?id=eq.40
        > As: lib_clerk
        > Prefer: return=representation
        >> {"id":40,"name":"made"}
        => 201 [{"id":40,"name":"made"}]
        PUT /tags?id=eq.41
        > As: lib_clerk
        >> [{"id":41,"name":"made"}]
        => 204
        PUT /notes?shelf=eq.p&slot=eq.1&select=shelf,slot,body
        > As: lib_clerk
        > Prefer: return=representation
        >> {"shelf":"p","slot":1,"body":"put"}
        => 201 [{"shelf":"p","slot":1,"body":"put"}]
        PUT /tags?id=eq.2
        > As: lib_clerk
        >> {"id":3,"name":"x"}
        => 400 {"code":"PGRST115","message":"Payload values do not match URL in primary key column(s)"}
        PUT /tags?id=eq.2
        > As: lib_clerk
        >> [{"id":2,"name":"x"},{"id":2,"name":"y"}]
        => 400 {"code":"PGRST115","message":"Payload values do not match URL in primary key column(s)"}
        PUT /tags
        > As: lib_clerk
        >> {"id":2,"name":"x"}
        => 405 {"code":"PGRST105","message":"Filters must include all and only primary key columns with 'eq' operators"}
        PUT /tags?id=gt.2
        > As: lib_clerk
        >> {"id":2,"name":"x"}
        => 405 {"code":"PGRST105","message":"Filters must include all and only primary key columns with 'eq' operators"}
        PUT /tags?id=eq.2&name=eq.x
        > As: lib_clerk
        >> {"id":2,"name":"x"}
        => 405 {"code":"PGRST105","message":"Filters must include all and only primary key columns with 'eq' operators"}
        PUT /notes?shelf=eq.p
        > As: lib_clerk
        >> {"shelf":"p","slot":1}
        => 405 {"code":"PGRST105","message":"Filters must include all and only primary key columns with 'eq' operators"}
        PUT /tags?id=eq.2&limit=1
        > As: lib_clerk
        >> {"id":2,"name":"x"}
        => 400 {"code":"PGRST114","message":"limit/offset querystring parameters are not allowed for PUT"}
        PUT /tags?id=eq.2
        >> {"id":2,"name":"x"}
        => 401 {"code":"42501"}
        GET /tags?id=in.(1,2,40,41)&order=id
        => [{"id":1,"name":"crimson"},{"id":2,"name":"olive"},{"id":40,"name":"made"},{"id":41,"name":"made"}]
    "##;
    check(&street().await, table).await;
}

/// Changes of the rows that pass the filters.
#[tokio::test(flavor = "multi_thread")]
async fn updates() {
    let table = r##"
        PATCH /tags?id=eq.1
        > As: lib_clerk
        >> {"name":"crimson"}
        => 204
        < content-range: 0-0/*
        < content-length: -
        PATCH /tags?id=lt.3&order=id
        > As: lib_clerk
        > Prefer: return=representation, count=exact
        >> {"name":"same"}
        => [{"id":1,"name":"same"},{"id":2,"name":"same"}]
        < content-range: 0-1/2
        < preference-applied: return=representation, count=exact
        PATCH /tags?id=eq.99
        > As: lib_clerk
        >> {"name":"x"}
        => 204
        < content-range: */*
        PATCH /tags?id=eq.99
        > As: lib_clerk
        > Prefer: return=representation
        >> {"name":"x"}
        => []
        PATCH /tags?id=eq.1
        > As: lib_clerk
        >> {}
        => 204
        < content-range: */*
        PATCH /tags?id=eq.1
        > As: lib_clerk
        > Prefer: return=representation
        >> {}
        => []
        PATCH /tags?id=eq.1
        > As: lib_clerk
        > Prefer: return=representation
        >> []
        => []
        PATCH /notes?shelf=eq.a&slot=eq.1&columns=body,stars&select=body,stars
        > As: lib_clerk
        > Prefer: return=representation
        >> {"body":"b","slug":"ignored"}
        => [{"body":"b","stars":null}]
        PATCH /notes?shelf=eq.a&slot=eq.1&columns=body,stars&select=body,stars
        > As: lib_clerk
        > Prefer: return=representation, missing=default
        >> {"body":"b"}
        => [{"body":"b","stars":3}]
        < preference-applied: missing=default, return=representation
        PATCH /books?id=eq.1&select=id,details,publishers(name)
        > As: lib_clerk
        > Prefer: return=representation
        >> {"details":{"lang":"fr"},"publisher_id":2}
        => [{"id":1,"details":{"lang": "fr"},"publishers":{"name":"Lake"}}]
        PATCH /books?details->>lang=eq.fr&select=id
        > As: lib_clerk
        > Prefer: return=representation
        >> {"pages":1}
        => [{"id":1}]
        PATCH /books?or=(id.eq.1,id.eq.3)&select=id&order=id.desc
        > As: lib_clerk
        > Prefer: return=representation
        >> {"pages":2}
        => [{"id":3},{"id":1}]
        PATCH /covers?ground=eq.%230000ff
        > As: lib_clerk
        > Prefer: return=representation
        >> {"ground":"#0000fe"}
        => [{"book_id":1,"ground":"#0000FE","artist":"Eve"}]
        PATCH /author_names?id=eq.4
        > As: lib_clerk
        > Prefer: return=representation
        >> {"name":"Dora"}
        => [{"id":4,"name":"Dora"}]
        PATCH /tags?id=eq.1
        > As: lib_clerk
        > Prefer: return=representation
        > Content-Type: text/csv
        >> name
        >> from csv
        => [{"id":1,"name":"from csv"}]
        PATCH /tags?id=eq.1
        > As: lib_clerk
        > Prefer: return=representation
        > Content-Type: application/x-www-form-urlencoded
        >> name=from+form
        => [{"id":1,"name":"from form"}]

        # Without a filter all rows are meant; limit and offset are not for writes.
        PATCH /keyless?limit=1
        > As: lib_clerk
        > Prefer: return=representation
        >> {"b":"all"}
        => [{"a":1,"b":"all"},{"a":2,"b":"all"}]
        < content-range: 0-1/*
        PATCH /members?id=eq.1&select=id,name
        > As: lib_clerk
        > Prefer: return=representation
        >> {"name":"Mina"}
        => [{"id":1,"name":"Mina"}]

        # What is refused.
        PATCH /members?id=eq.1
        > As: lib_clerk
        >> {"pin":"0000"}
        => 403 {"code":"42501"}
        PATCH /members?id=eq.1
        > As: lib_clerk
        >> {"id":9}
        => 400 {"code":"428C9","details":"Column \"id\" is an identity column defined as GENERATED ALWAYS."}
        PATCH /books?id=eq.1
        > As: lib_clerk
        >> {"title_length":9}
        => 400 {"code":"428C9","details":"Column \"title_length\" is a generated column."}
        PATCH /books?id=eq.1
        > As: lib_clerk
        >> {"id":3}
        => 409 {"code":"23505","details":"Key (id)=(3) already exists."}
        PATCH /tags?id=eq.1
        > As: lib_clerk
        >> {"nothing":9}
        => 400 {"code":"PGRST204","message":"Could not find the 'nothing' column of 'tags' in the schema cache"}
        PATCH /tags?nothing=eq.1
        > As: lib_clerk
        >> {"name":"x"}
        => 400 {"code":"42703"}
        PATCH /tags?id=eq.1&columns=nothing
        > As: lib_clerk
        >> {"name":"x"}
        => 400 {"code":"PGRST204","message":"Could not find the 'nothing' column of 'tags' in the schema cache"}
        PATCH /titles?title=eq.Rivers
        > As: lib_clerk
        >> {"title":"x"}
        => 500 {"code":"55000"}
        PATCH /tags?id=eq.1
        >> {"name":"x"}
        => 401 {"code":"42501"}
        PATCH /tags?id=eq.1
        > As: lib_clerk
        >> name
        => 400 {"code":"PGRST102","message":"Empty or invalid json"}
        PATCH /tags?id
        > As: lib_clerk
        >> {"name":"x"}
        => 400 {"code":"PGRST100"}
    "##;
    check(&street().await, table).await;
}

/// Rows that go, and those that do not.
#[tokio::test(flavor = "multi_thread")]
async fn deletes() {
    let table = r##"
        DELETE /book_tags?book_id=eq.1&tag_id=eq.1
        > As: lib_clerk
        => 204
        < content-range: */*
        < content-length: -
        DELETE /book_tags?book_id=eq.1&select=tag_id,tags(name)
        > As: lib_clerk
        > Prefer: return=representation, count=exact
        => [{"tag_id":2,"tags":{"name":"green"}}]
        < content-range: */1
        < preference-applied: return=representation, count=exact
        DELETE /book_tags?book_id=eq.99
        > As: lib_clerk
        > Prefer: return=representation
        => []
        < content-range: */*
        DELETE /notes?or=(slug.eq.s1,body.is.null)&select=shelf,slot&order=shelf
        > As: lib_clerk
        > Prefer: return=representation
        => [{"shelf":"a","slot":1},{"shelf":"b","slot":1}]
        DELETE /authors?id=eq.1
        > As: lib_clerk
        => 409 {"code":"23503","details":"Key (id)=(1) is still referenced from table \"books\"."}
        DELETE /canary => 401 {"code":"42501"}
        DELETE /vault
        > As: lib_clerk
        => 403 {"code":"42501"}
        DELETE /titles
        > As: lib_clerk
        => 500 {"code":"55000"}
        DELETE /tags?nothing=eq.1
        > As: lib_clerk
        => 400 {"code":"42703"}
        DELETE /keyless
        > As: lib_clerk
        => 204
        GET /keyless => []
    "##;
    check(&street().await, table).await;
}

/// How many rows a write may change, if the client insists.
#[tokio::test(flavor = "multi_thread")]
async fn max_affected() {
    let table = r##"
        DELETE /counted?id=lt.4
        > As: lib_clerk
        > Prefer: handling=strict, max-affected=2
        => 400 {"code":"PGRST124","message":"Query result exceeds max-affected preference constraint","details":"The query affects 3 rows"}
        < preference-applied: -
        PATCH /counted?id=eq.1
        > As: lib_clerk
        > Prefer: handling=strict, max-affected=2
        >> {"id":101}
        => 204
        < preference-applied: handling=strict, max-affected=2
        PATCH /keyless
        > As: lib_clerk
        > Prefer: handling=strict, max-affected=1, return=representation
        >> {"b":"x"}
        => 400 {"code":"PGRST124","message":"Query result exceeds max-affected preference constraint","details":"The query affects 2 rows"}
        GET /keyless => [{"a":1,"b":"x"},{"a":2,"b":null}]
        GET /counted?select=count() => [{"count":12}]

        # Only with handling=strict.
        DELETE /counted?id=in.(2,3)
        > As: lib_clerk
        > Prefer: max-affected=1
        => 204
        < preference-applied: -
        DELETE /counted?id=in.(4,5)
        > As: lib_clerk
        > Prefer: handling=lenient, max-affected=1
        => 204
        < preference-applied: handling=lenient
        POST /rpc/drop_notes?select=slot
        > As: lib_clerk
        > Prefer: handling=strict, max-affected=1
        >> {"which":"a"}
        => 400 {"code":"PGRST124","message":"Query result exceeds max-affected preference constraint","details":"The query affects 2 rows"}
        POST /rpc/drop_notes?select=slot
        > As: lib_clerk
        > Prefer: handling=strict, max-affected=2
        >> {"which":"a"}
        => [{"slot":1},{"slot":2}]
        POST /rpc/add
        > Prefer: handling=strict, max-affected=1
        >> {"a":1,"b":2}
        => 400 {"code":"PGRST128","message":"Function must return SETOF or TABLE when max-affected preference is used with handling=strict"}
        GET /counted?select=count() => [{"count":8}]
    "##;
    check(&street().await, table).await;
}

/// What is honoured, what is refused, and what is undone.
#[tokio::test(flavor = "multi_thread")]
async fn preferences() {
    let table = r##"
        GET /tags?id=eq.1
        > Prefer: return=representation, count=exact, handling=lenient
        => [{"id":1,"name":"red"}]
        < preference-applied: count=exact, handling=lenient
        GET /tags?id=eq.1 => [{"id":1,"name":"red"}]
        < preference-applied: -
        GET /tags?id=eq.1
        > Prefer: nonsense, return=everything
        => [{"id":1,"name":"red"}]
        < preference-applied: -
        GET /tags?id=eq.1
        > Prefer: handling=strict
        => [{"id":1,"name":"red"}]
        < preference-applied: handling=strict
        GET /tags?id=eq.1
        > Prefer: handling=strict, nonsense, other=1
        => 400 {"code":"PGRST122","message":"Invalid preferences given with handling=strict","details":"Invalid preferences: nonsense, other=1"}
        POST /tags
        > As: lib_clerk
        > Prefer: handling=strict, nonsense
        >> {"id":70,"name":"x"}
        => 400 {"code":"PGRST122","message":"Invalid preferences given with handling=strict","details":"Invalid preferences: nonsense"}
        POST /rpc/add
        > Prefer: handling=strict, nonsense
        >> {"a":1,"b":2}
        => 400 {"code":"PGRST122","message":"Invalid preferences given with handling=strict","details":"Invalid preferences: nonsense"}
        POST /notes
        > As: lib_clerk
        > Prefer: timezone=UTC, max-affected=9, handling=strict, tx=rollback, count=exact, return=minimal, missing=default, resolution=ignore-duplicates
        >> {"shelf":"o","slot":1}
        => 201
        < preference-applied: resolution=ignore-duplicates, missing=default, return=minimal, count=exact, tx=rollback, handling=strict, timezone=UTC
        PATCH /notes?shelf=eq.none
        > As: lib_clerk
        > Prefer: max-affected=9
        > Prefer: handling=strict
        > Prefer: missing=null
        >> {"body":"x"}
        => 204
        < preference-applied: missing=null, handling=strict, max-affected=9
        POST /tags
        > As: lib_clerk
        > Prefer: tx=rollback, return=representation
        >> {"id":71,"name":"gone"}
        => 201 [{"id":71,"name":"gone"}]
        < preference-applied: return=representation, tx=rollback
        POST /tags
        > As: lib_clerk
        > Prefer: tx=commit, return=representation
        >> {"id":72,"name":"kept"}
        => 201 [{"id":72,"name":"kept"}]
        < preference-applied: return=representation, tx=commit
        PATCH /tags?id=eq.1
        > As: lib_clerk
        > Prefer: tx=rollback
        >> {"name":"gone"}
        => 204
        < preference-applied: tx=rollback
        DELETE /tags?id=eq.72
        > As: lib_clerk
        > Prefer: tx=rollback
        => 204
        < preference-applied: tx=rollback
        POST /rpc/write_note
        > As: lib_clerk
        > Prefer: tx=rollback
        >> {"slot":1}
        => "rpc"
        < preference-applied: tx=rollback
        GET /tags?or=(id.gt.69,name.eq.gone) => [{"id":72,"name":"kept"}]
        GET /notes?shelf=eq.rpc => []
        GET /books?select=added&id=eq.1
        > Prefer: timezone=America/Lima
        => [{"added":"2024-01-01T07:00:00-05:00"}]
        < preference-applied: timezone=America/Lima
        GET /books?select=added&id=eq.1
        > Prefer: timezone=-05:30
        => [{"added":"2024-01-01T17:30:00+05:30"}]
        < preference-applied: timezone=-05:30
        GET /books?select=added&id=eq.1
        > Prefer: timezone=Mars/Dome
        => 400 {"code":"22023"}
        GET /rpc/setting?name=TimeZone
        > Prefer: timezone=America/Lima
        => "America/Lima"
        GET /rpc/setting?name=TimeZone => "UTC"

        # Here nothing stays, and the client has no say in it.
        @branch POST /parents
        > As: lib_clerk
        > Prefer: tx=commit, return=representation
        >> {"id":5,"name":"x"}
        => 201 [{"id":5,"name":"x"}]
        < preference-applied: return=representation
        @branch POST /rpc/add_parent
        > As: lib_clerk
        >> {"id":6}
        => 200 6
        @branch DELETE /children
        > As: lib_clerk
        => 204
        @branch GET /parents?select=id&order=id => [{"id":1},{"id":2}]
    "##;
    check(&street().await, table).await;
}

/// One object, CSV, no nulls, plans, and what a client may ask for.
#[tokio::test(flavor = "multi_thread")]
async fn representations() {
    let table = r##"
        GET /tags?id=eq.1
        > Accept: application/vnd.pgrst.object+json
        => {"id":1,"name":"red"}
        < content-type: application/vnd.pgrst.object+json; charset=utf-8
        < content-range: 0-0/*
        GET /tags?id=eq.1
        > Accept: application/vnd.pgrst.object
        => {"id":1,"name":"red"}
        < content-type: application/vnd.pgrst.object+json; charset=utf-8
        GET /tags
        > Accept: application/vnd.pgrst.object+json
        => 406 {"code":"PGRST116","message":"Cannot coerce the result to a single JSON object","details":"The result contains 3 rows"}
        GET /tags?id=eq.99
        > Accept: application/vnd.pgrst.object+json
        => 406 {"code":"PGRST116","message":"Cannot coerce the result to a single JSON object","details":"The result contains 0 rows"}
        POST /tags
        > As: lib_clerk
        > Prefer: return=representation
        > Accept: application/vnd.pgrst.object+json
        >> {"id":50,"name":"one"}
        => 201 {"id":50,"name":"one"}
        POST /tags
        > As: lib_clerk
        > Prefer: return=representation
        > Accept: application/vnd.pgrst.object+json
        >> [{"id":51,"name":"a"},{"id":52,"name":"b"}]
        => 406 {"code":"PGRST116","message":"Cannot coerce the result to a single JSON object","details":"The result contains 2 rows"}
        POST /tags
        > As: lib_clerk
        > Accept: application/vnd.pgrst.object+json
        >> [{"id":51,"name":"a"},{"id":52,"name":"b"}]
        => 406 {"code":"PGRST116","message":"Cannot coerce the result to a single JSON object","details":"The result contains 2 rows"}
        PATCH /tags?id=eq.50
        > As: lib_clerk
        > Prefer: return=representation
        > Accept: application/vnd.pgrst.object+json
        >> {"name":"two"}
        => {"id":50,"name":"two"}
        PATCH /tags?id=lt.50
        > As: lib_clerk
        > Prefer: return=representation
        > Accept: application/vnd.pgrst.object+json
        >> {"name":"all"}
        => 406 {"code":"PGRST116","message":"Cannot coerce the result to a single JSON object","details":"The result contains 3 rows"}
        DELETE /book_tags?book_id=eq.1
        > As: lib_clerk
        > Prefer: return=representation
        > Accept: application/vnd.pgrst.object+json
        => 406 {"code":"PGRST116","message":"Cannot coerce the result to a single JSON object","details":"The result contains 2 rows"}
        GET /tags?order=id
        => [{"id":1,"name":"red"},{"id":2,"name":"green"},{"id":3,"name":"blue"},{"id":50,"name":"two"}]
        GET /rpc/books_of?author=2&select=id
        > Accept: application/vnd.pgrst.object+json
        => {"id":3}
        GET /rpc/books_of?author=1&select=id
        > Accept: application/vnd.pgrst.object+json
        => 406 {"code":"PGRST116","message":"Cannot coerce the result to a single JSON object","details":"The result contains 2 rows"}

        # Without nulls.
        GET /covers?select=book_id,artist&order=book_id
        > Accept: application/vnd.pgrst.array+json;nulls=stripped
        => [{"book_id":1,"artist":"Eve"},{"book_id":3}]
        < content-type: application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8
        GET /covers?select=book_id,artist&book_id=eq.3
        > Accept: application/vnd.pgrst.object+json;nulls=stripped
        => {"book_id":3}
        < content-type: application/vnd.pgrst.object+json;nulls=stripped; charset=utf-8
        GET /covers?select=book_id,artist&book_id=eq.3
        > Accept: application/vnd.pgrst.array+json
        => [{"book_id":3,"artist":null}]

        # CSV.
        GET /covers?select=book_id,artist&order=book_id
        > Accept: text/csv
        => book_id,artist
        | 1,Eve
        | 3,
        < content-type: text/csv; charset=utf-8
        < content-range: 0-1/*
        GET /odd;name é?select="a.dotted","two words"&order="a.dotted"
        > Accept: text/csv
        => a.dotted,"two words"
        | 1,"comma, and ""quote"""
        | 2,"back\slash"
        | 3,"naïve ☕"
        GET /tags?id=eq.99
        > Accept: text/csv
        => 200
        | 
        GET /books?select=id,keywords,details,price&id=lt.3&order=id
        > Accept: text/csv
        => id,keywords,details,price
        | 1,"{tech,old}","{""n"": 2, ""isbn"": {""ten"": ""0-1""}, ""lang"": ""en"", ""langs"": [""en"", ""fr""]}",10.50
        | 2,{tech},"{""n"": 10, ""lang"": ""en""}",12.00
        POST /tags
        > As: lib_clerk
        > Prefer: return=representation
        > Accept: text/csv
        >> {"id":60,"name":"a,b"}
        => 201 id,name
        | 60,"a,b"
        GET /rpc/price_list?most=11
        > Accept: text/csv
        => title,price
        | Engines,10.50
        | Rivers,7.25

        # What is acceptable.
        GET /tags?id=eq.60
        > Accept: */*
        => [{"id":60,"name":"a,b"}]
        < content-type: application/json; charset=utf-8
        GET /tags?id=eq.60
        > Accept: text/csv;q=0.5, application/json
        => [{"id":60,"name":"a,b"}]
        < content-type: application/json; charset=utf-8
        GET /tags?id=eq.60
        > Accept: application/json;q=0.5, text/csv
        => id,name
        | 60,"a,b"
        < content-type: text/csv; charset=utf-8
        GET /tags?id=eq.60
        > Accept: image/png, */*;q=0.1
        => [{"id":60,"name":"a,b"}]
        < content-type: application/json; charset=utf-8
        GET /tags?id=eq.60
        > Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
        => [{"id":60,"name":"a,b"}]
        < content-type: application/json; charset=utf-8
        GET /tags?id=eq.60
        > Accept: image/png
        => 406 {"code":"PGRST107"}
        < content-type: application/json; charset=utf-8
        GET /tags?id=eq.60
        > Accept: application/json;q=0, image/png
        => 406 {"code":"PGRST107"}

        # Media types of the library's own.
        GET /books?order=id
        > Accept: application/vnd.library.titles
        => Engines;Engines II;Rivers;Stones, and "Other" (Things);
        < content-type: application/vnd.library.titles
        GET /books?id=eq.3
        > Accept: application/vnd.library.titles, */*
        => Rivers;
        < content-type: application/vnd.library.titles
        GET /books?select=id
        > Accept: application/vnd.library.titles
        => 406 {"code":"PGRST107"}
        GET /tags
        > Accept: application/vnd.library.titles
        => 406 {"code":"PGRST107"}
        GET /rpc/card?id=3
        > Accept: text/x-card
        => * Rivers
        < content-type: text/x-card
        GET /rpc/card?id=3
        > Accept: image/png
        => 406 {"code":"PGRST107"}
        < content-type: application/json; charset=utf-8
        GET /rpc/page
        > Accept: text/html
        => <b>hi</b>
        < content-type: text/html
        GET /rpc/blob
        > Accept: application/octet-stream
        => abc
        < content-type: application/octet-stream

        # Plans, where they are allowed.
        @branch GET /children
        > Accept: application/vnd.pgrst.plan+json
        => 406 {"code":"PGRST107"}
    "##;
    check(&street().await, table).await;
}

/// Calls with every kind of argument, and results of every shape.
#[tokio::test(flavor = "multi_thread")]
async fn functions() {
    let table = r##"
        POST /rpc/add
        >> {"a":1,"b":2}
        => 200 3
        GET /rpc/add?a=1&b=2 => 200 3
        HEAD /rpc/add?a=1&b=2 => 200
        < content-range: 0-0/*
        < content-type: application/json; charset=utf-8
        POST /rpc/greet
        >> {}
        => "hello reader!"
        POST /rpc/greet => "hello reader!"
        POST /rpc/greet
        >> {"who":"Eve"}
        => "hello Eve!"
        GET /rpc/greet => "hello reader!"
        GET /rpc/greet?mark=? => "hello reader?"
        POST /rpc/greet
        > Content-Type: application/x-www-form-urlencoded
        >> who=a+b&mark=%26
        => "hello a b&"
        POST /rpc/add?columns=a,b
        >> {"a":1,"b":2,"junk":3}
        => 200 3

        # Results.
        GET /rpc/nothing => 204
        POST /rpc/nothing => 204
        < content-type: -
        < content-length: -
        GET /rpc/numbers => [1,2,3]
        GET /rpc/numbers?upto=2 => [1,2]
        POST /rpc/numbers
        > Prefer: count=exact
        >> {"upto":4}
        => [1,2,3,4]
        < content-range: 0-3/4
        GET /rpc/book?id=3&select=id,title => {"id":3,"title":"Rivers"}
        GET /rpc/books_of?author=1&select=id => [{"id":1},{"id":2}]
        GET /rpc/price_list?most=11 => [{"title":"Engines","price":10.50},{"title":"Rivers","price":7.25}]
        GET /rpc/loose => {"a":1,"b":"x"}
        GET /rpc/pair => {"first":1,"second":"two"}
        GET /rpc/document => {"a": [1, null, "b"]}
        GET /rpc/null_text => null
        POST /rpc/write_note
        > As: lib_clerk
        >> {"slot":1}
        => "rpc"

        # Filters, order, ranges, counts on what is a set.
        GET /rpc/books_of?author=1&id=gt.1&select=id => [{"id":2}]
        GET /rpc/books_of?author=1&order=id.desc&select=id => [{"id":2},{"id":1}]
        GET /rpc/books_of?author=1&order=id&limit=1&offset=1&select=id
        > Prefer: count=exact
        => 206 [{"id":2}]
        < content-range: 1-1/2
        GET /rpc/books_of?author=1&order=id&select=id
        > Range: 0-0
        => [{"id":1}]
        < content-range: 0-0/*
        GET /rpc/price_list?most=20&price=gt.8&order=price.desc&select=cost:price => [{"cost":12.00},{"cost":10.50}]
        POST /rpc/books_of?id=eq.2&select=id,label
        >> {"author":1}
        => [{"id":2,"label":"Engines II (2)"}]
        GET /rpc/books_of?author=1&or=(id.eq.1,title.like.*II)&select=id&order=id => [{"id":1},{"id":2}]
        GET /rpc/numbers?upto=5&limit=2 => [1,2]
        < content-range: 0-1/*
        GET /rpc/price_list?most=20&select=price.sum() => [{"sum":29.75}]

        # Overloads, variadic and array arguments, enums, odd names.
        GET /rpc/area?side=3 => 200 9
        POST /rpc/area
        >> {"width":3,"height":4}
        => 200 12
        GET /rpc/longest?words=a&words=four => 200 4
        GET /rpc/longest?words=one => 200 3
        POST /rpc/longest
        >> {"words":["a","bcd"]}
        => 200 3
        GET /rpc/total?ns={1,2,3} => 200 6
        POST /rpc/total
        >> {"ns":[1,2,3]}
        => 200 6
        POST /rpc/total
        >> {"ns":"{4,5}"}
        => 200 9
        GET /rpc/kind?name=x&binding=cloth => "x:cloth"
        POST /rpc/odd%20name
        >> {"the arg":7}
        => 200 7
        GET /rpc/odd%20name?the%20arg=7 => 200 7

        # The whole body as the one argument.
        POST /rpc/whole_json
        >> {"a":1}
        => "object"
        POST /rpc/whole_text
        > Content-Type: text/plain
        >> four
        => 200 4
        POST /rpc/whole_bytes
        > Content-Type: application/octet-stream
        >> abc
        => 200 3
        POST /rpc/whole_xml
        > Content-Type: text/xml
        >> <a>inside</a>
        => "inside"

        # Found by the extra search_path only, which is none of the API.
        GET /rpc/deep
        => 404 {"code":"PGRST202","message":"Could not find the function library.deep without parameters in the schema cache","details":"Searched for the function library.deep without parameters, but no matches were found in the schema cache."}

        # What is refused.
        GET /rpc/ad?a=1&b=2
        => 404 {"code":"PGRST202","message":"Could not find the function library.ad(a, b) in the schema cache","details":"Searched for the function library.ad with parameters a, b, but no matches were found in the schema cache."}
        GET /rpc/add?a=1
        => 404 {"code":"PGRST202","message":"Could not find the function library.add(a) in the schema cache","details":"Searched for the function library.add with parameter a, but no matches were found in the schema cache.","hint":"Perhaps you meant to call the function library.add(a, b)"}
        POST /rpc/add
        >> {"a":1,"c":2}
        => 404 {"code":"PGRST202","message":"Could not find the function library.add(a, c) in the schema cache","details":"Searched for the function library.add with parameters a, c or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache.","hint":"Perhaps you meant to call the function library.add(a, b)"}
        GET /rpc/add?a=x&b=2 => 400 {"code":"22P02"}
        POST /rpc/add
        >> {"a":
        => 400 {"code":"PGRST102","message":"Empty or invalid json"}
        GET /rpc/write_note?slot=2
        > As: lib_clerk
        => 405 {"code":"25006"}
        HEAD /rpc/write_note?slot=2
        > As: lib_clerk
        => 405
        POST /rpc/write_note
        >> {"slot":3}
        => 401 {"code":"42501"}
        PUT /rpc/add
        >> {"a":1,"b":2}
        => 405 {"code":"PGRST101","message":"Cannot use the PUT method on RPC"}
        PATCH /rpc/add
        >> {"a":1,"b":2}
        => 405 {"code":"PGRST101","message":"Cannot use the PATCH method on RPC"}
        DELETE /rpc/add => 405 {"code":"PGRST101","message":"Cannot use the DELETE method on RPC"}
        GET /rpc/locked => 401 {"code":"42501"}
        GET /rpc/locked
        > As: lib_clerk
        => 200 1
        GET /rpc/kind?name=x&binding=stone => 400 {"code":"22P02"}
        GET /notes?shelf=eq.rpc&select=slot => [{"slot":1}]
    "##;
    check(&street().await, table).await;
}

/// What functions and policies see of the request, and what they may set.
#[tokio::test(flavor = "multi_thread")]
async fn settings_of_transactions() {
    let table = r##"
        GET /rpc/me => {"role" : "lib_reader", "read_only" : "on"}
        POST /rpc/me
        > As: lib_clerk
        => {"role" : "lib_clerk", "read_only" : "on"}
        POST /rpc/volatile_me
        > As: lib_clerk
        => {"role" : "lib_clerk", "read_only" : "off"}
        GET /rpc/volatile_me => {"role" : "lib_reader", "read_only" : "on"}
        GET /rpc/setting?name=request.method => "GET"
        POST /rpc/setting
        >> {"name":"request.method"}
        => "POST"
        GET /rpc/setting?name=request.path => "/rpc/setting"
        GET /rpc/setting?name=app.settings.motto => "read more"
        GET /rpc/setting?name=request.cookies
        > Cookie: a=1; b=two
        => "{\"a\":\"1\",\"b\":\"two\"}"
        POST /rpc/setting
        > X-Odd: it's "quoted"
        >> {"name":"request.headers"}
        => "{\"connection\":\"close\",\"content-length\":\"26\",\"host\":\"library.localhost\",\"x-odd\":\"it's \\\"quoted\\\"\"}"
        GET /rpc/setting?name=request.jwt.claims => "{\"role\":\"lib_reader\"}"

        # Settings of the role and of the function.
        GET /rpc/setting?name=statement_timeout
        > As: lib_slow
        => "1234ms"
        GET /rpc/setting?name=transaction_isolation
        > As: lib_slow
        => "repeatable read"
        GET /rpc/setting?name=statement_timeout
        > As: lib_clerk
        => "5s"
        GET /rpc/impatient => "777ms"
        GET /rpc/impatient
        > As: lib_slow
        => "777ms"
        GET /rpc/too_long => 500 {"code":"57014"}
        POST /rpc/strictly => "serializable"

        # Rows that a policy lets through by the claims.
        GET /parcels?select=id => []
        GET /parcels?select=id
        > As: lib_clerk
        => [{"id":1}]
        POST /parcels
        > As: lib_clerk
        > Prefer: return=representation
        >> {"id":3,"place":"library"}
        => 201 [{"id":3,"place":"library"}]
        POST /parcels
        > As: lib_clerk
        >> {"id":4,"place":"elsewhere"}
        => 403 {"code":"42501"}

        # The answer's status and headers.
        POST /rpc/teapot => 418 {"short": "stout"}
        < x-brew: oolong
        < set-cookie: a=1
        < content-type: application/json; charset=utf-8
        GET /rpc/own_type => "[{\"Content-Type\": \"text/x-own\"}, {\"Cache-Control\": \"max-age=9\"}]"
        < content-type: text/x-own
        < cache-control: max-age=9
        GET /rpc/bad_headers
        => 500 {"code":"PGRST111","message":"response.headers guc must be a JSON array composed of objects with a single key and a string value"}
        GET /rpc/bad_status => 500 {"code":"PGRST112","message":"response.status guc must be a valid status code"}

        # A function that runs first.
        @gate GET /things => [{"id":1}]
        < x-gate: passed
        @gate GET /things
        > X-Banned: yes
        => 403 {"code":"PT403"}
        @gate GET /rpc/seen => {"role" : "lib_reader", "path" : "GET /rpc/seen"}
        @gate GET /rpc/seen
        > X-Promote: yes
        => {"role" : "lib_clerk", "path" : "GET /rpc/seen"}
        @gate GET /whoami
        > X-Promote: yes
        => [{"role":"lib_clerk"}]
        @gate GET /whoami
        > As: lib_clerk
        => [{"role":"lib_clerk"}]
        @gate GET /nothing_here
        => 404 {"code":"PGRST205","message":"Could not find the table 'gate.nothing_here' in the schema cache"}
        < x-gate: -
    "##;
    check(&street().await, table).await;
}

/// Several schemas, chosen by the profile headers.
#[tokio::test(flavor = "multi_thread")]
async fn schemas() {
    let table = r##"
        GET /books?select=id,title&id=eq.1 => [{"id":1,"title":"Engines"}]
        < content-profile: library
        GET /books
        > Accept-Profile: annex
        => [{"id":1,"title":"Annexed"}]
        < content-profile: annex
        GET /books?select=id,title&id=eq.1
        > Accept-Profile: library
        => [{"id":1,"title":"Engines"}]
        < content-profile: library
        POST /books
        > As: lib_clerk
        > Content-Profile: annex
        > Prefer: return=representation
        >> {"id":2,"title":"More"}
        => 201 [{"id":2,"title":"More"}]
        < content-profile: annex
        PATCH /books?id=eq.2
        > As: lib_clerk
        > Content-Profile: annex
        > Prefer: return=representation
        >> {"title":"Less"}
        => [{"id":2,"title":"Less"}]
        < content-profile: annex
        DELETE /books?id=eq.2
        > As: lib_clerk
        > Content-Profile: annex
        > Prefer: return=representation
        => [{"id":2,"title":"Less"}]
        < content-profile: annex
        GET /rpc/greet
        > Accept-Profile: annex
        => "annex says annex"
        < content-profile: annex
        POST /rpc/greet
        > Content-Profile: annex
        >> {"who":"hi"}
        => "annex says hi"
        < content-profile: annex
        GET /rpc/greet => "hello reader!"
        POST /loans?select=id,place,shelf
        > As: lib_clerk
        > Content-Profile: annex
        > Prefer: return=representation
        >> [{"id":1,"place":"out","shelf":"b"}]
        => 201 [{"id":1,"place":"out","shelf":"b"}]
        PATCH /loans?place=eq.out&shelf=in.(b)
        > As: lib_clerk
        > Content-Profile: annex
        >> {"place":"in"}
        => 204
        GET /loans?place=in.(in,out)
        > Accept-Profile: annex
        => [{"id":1,"place":"in","shelf":"b"}]
        GET /authors
        > Accept-Profile: annex
        => 404 {"code":"PGRST205","message":"Could not find the table 'annex.authors' in the schema cache"}
        GET /rpc/me
        > Accept-Profile: annex
        => 404 {"code":"PGRST202","message":"Could not find the function annex.me without parameters in the schema cache","details":"Searched for the function annex.me without parameters, but no matches were found in the schema cache."}
        GET /books
        > Accept-Profile: cellar
        => 406 {"code":"PGRST106","message":"Invalid schema: cellar","hint":"Only the following schemas are exposed: library, annex"}
        GET /books
        > Accept-Profile: pg_catalog
        => 406 {"code":"PGRST106","message":"Invalid schema: pg_catalog","hint":"Only the following schemas are exposed: library, annex"}
        POST /books
        > As: lib_clerk
        > Content-Profile: cellar
        >> {"id":2}
        => 406 {"code":"PGRST106","message":"Invalid schema: cellar","hint":"Only the following schemas are exposed: library, annex"}
        @branch GET /parents?select=id&order=id => [{"id":1},{"id":2}]
        < content-profile: -
        @branch GET /parents
        > Accept-Profile: library
        => 406 {"code":"PGRST106","message":"Invalid schema: library"}
    "##;
    check(&street().await, table).await;
}

/// OPTIONS, and what pages of other origins may do.
#[tokio::test(flavor = "multi_thread")]
async fn options_and_origins() {
    let table = r##"
        OPTIONS /tags => 200
        < allow: OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE
        < access-control-allow-origin: *
        OPTIONS /keyless => 200
        < allow: OPTIONS,GET,HEAD,POST,PATCH,DELETE
        OPTIONS /titles => 200
        < allow: OPTIONS,GET,HEAD
        OPTIONS /inbox => 200
        < allow: OPTIONS,GET,HEAD,POST
        OPTIONS /author_names => 200
        < allow: OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE
        OPTIONS /rpc/add?a=1&b=2 => 200
        < allow: OPTIONS,GET,HEAD,POST
        OPTIONS /rpc/write_note?slot=1 => 200
        < allow: OPTIONS,POST
        OPTIONS /nothing_here
        => 404 {"code":"PGRST205","message":"Could not find the table 'library.nothing_here' in the schema cache"}
        OPTIONS /tags
        > Origin: https://a.example
        > Access-Control-Request-Method: POST
        > Access-Control-Request-Headers: Foo,Bar
        => 200
        < access-control-allow-origin: *
        < access-control-allow-methods: GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD
        < access-control-allow-headers: Authorization, Foo,Bar, Accept, Accept-Language, Content-Language
        < access-control-max-age: 86400
        < access-control-allow-credentials: -
        GET /tags?select=id&id=eq.1
        > Origin: https://a.example
        => [{"id":1}]
        < access-control-allow-origin: *
        < access-control-expose-headers: Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server, Transfer-Encoding, Range-Unit
        GET /tags?select=id&id=eq.1 => [{"id":1}]
        < access-control-allow-origin: -
        GET /nothing_here
        > Origin: https://a.example
        => 404 {"code":"PGRST205","message":"Could not find the table 'library.nothing_here' in the schema cache"}
        < access-control-allow-origin: *
        @branch GET /parents?id=eq.1
        > Origin: https://desk.example
        => [{"id":1,"name":"p1"}]
        < access-control-allow-origin: https://desk.example
        < access-control-allow-credentials: true
        @branch GET /parents?id=eq.1
        > Origin: https://evil.example
        => [{"id":1,"name":"p1"}]
        < access-control-allow-origin: -
        < access-control-allow-credentials: -
        @branch OPTIONS /parents
        > Origin: https://desk.example
        > Access-Control-Request-Method: GET
        => 200
        < access-control-allow-origin: https://desk.example
        < access-control-allow-methods: GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD
        @branch OPTIONS /parents
        > Origin: https://evil.example
        > Access-Control-Request-Method: GET
        => 200
        < access-control-allow-origin: -
        < access-control-allow-methods: -
        < vary: Origin
        @branch OPTIONS /parents
        > Origin: https://evil.example
        => 200
        < access-control-allow-origin: -
        @branch GET /parents?id=eq.1 => [{"id":1,"name":"p1"}]
        < access-control-allow-origin: -
        @branch GET /nothing_here
        > Origin: https://evil.example
        => 404 {"code":"PGRST205"}
        < vary: Origin
    "##;
    check(&street().await, table).await;
}

/// What clients branch on: status, code, and what helps.
#[tokio::test(flavor = "multi_thread")]
async fn errors() {
    let table = r##"
        GET /nothing_here
        => 404 {"code":"PGRST205","message":"Could not find the table 'library.nothing_here' in the schema cache"}
        < proxy-status: PostgREST; error=PGRST205
        < content-type: application/json; charset=utf-8
        HEAD /nothing_here => 404
        < proxy-status: PostgREST; error=PGRST205
        GET /books?id=eq.x => 400 {"code":"22P02","message":"invalid input syntax for type integer: \"x\""}
        < proxy-status: PostgREST; error=22P02
        GET /author
        => 404 {"code":"PGRST205","message":"Could not find the table 'library.author' in the schema cache","hint":"Perhaps you meant the table 'library.authors'"}
        GET /rpc/addd?a=1&b=2
        => 404 {"code":"PGRST202","message":"Could not find the function library.addd(a, b) in the schema cache","details":"Searched for the function library.addd with parameters a, b, but no matches were found in the schema cache.","hint":"Perhaps you meant to call the function library.add"}
        GET /rpc/add?a=1&bb=2
        => 404 {"code":"PGRST202","message":"Could not find the function library.add(a, bb) in the schema cache","details":"Searched for the function library.add with parameters a, bb, but no matches were found in the schema cache.","hint":"Perhaps you meant to call the function library.add(a, b)"}
        POST /rpc/greet
        >> {"whom":"x"}
        => 404 {"code":"PGRST202","message":"Could not find the function library.greet(whom) in the schema cache","details":"Searched for the function library.greet with parameter whom or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache.","hint":"Perhaps you meant to call the function library.greet(mark, who)"}
        GET /tags/1/2 => 404 {"code":"PGRST125"}
        GET /rpc => 404 {"code":"PGRST205","message":"Could not find the table 'library.rpc' in the schema cache"}
        TRACE /tags => 405 {"code":"PGRST117","message":"Unsupported HTTP method: TRACE"}
        PROPFIND /tags => 405 {"code":"PGRST117","message":"Unsupported HTTP method: PROPFIND"}
        < allow: OPTIONS, GET, HEAD, POST, PUT, PATCH, DELETE
        GET /rpc/refuse?how=plain
        => 400 {"code":"P0001","message":"not today","details":"it is Sunday","hint":"come back on Monday"}
        GET /rpc/refuse?how=status
        => 402 {"code":"PT402","message":"pay first","details":"two coins","hint":"at the desk"}
        GET /rpc/refuse?how=custom => 332 {"code":"123","message":"full","details":"no seat","hint":"stand"}
        < x-seat: none
        GET /rpc/refuse?how=broken
        => 500 {"code":"PGRST121","message":"Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error","details":"Invalid JSON value for MESSAGE: 'no json'","hint":"MESSAGE must be a JSON object with obligatory keys: 'code', 'message' and optional keys: 'details', 'hint'."}
        GET /rpc/refuse?how=42501 => 401 {"code":"42501","message":"refused"}
        GET /rpc/refuse?how=42501
        > As: lib_clerk
        => 403 {"code":"42501","message":"refused"}
        GET /rpc/refuse?how=23505 => 409 {"code":"23505","message":"refused"}
        GET /rpc/refuse?how=40001 => 500 {"code":"40001","message":"refused"}
        GET /rpc/refuse?how=53300 => 503 {"code":"53300","message":"refused"}
        GET /rpc/refuse?how=53400 => 500 {"code":"53400","message":"refused"}
        GET /rpc/refuse?how=54001 => 500 {"code":"54001","message":"refused"}
        GET /rpc/refuse?how=28000 => 403 {"code":"28000","message":"refused"}
        GET /rpc/refuse?how=0L000 => 403 {"code":"0L000","message":"refused"}
        GET /rpc/refuse?how=0P000 => 403 {"code":"0P000","message":"refused"}
        GET /rpc/refuse?how=42P01 => 404 {"code":"42P01","message":"refused"}
        GET /rpc/refuse?how=42883 => 404 {"code":"42883","message":"refused"}
        GET /rpc/refuse?how=42P17 => 500 {"code":"42P17","message":"refused"}
        GET /rpc/refuse?how=25006 => 405 {"code":"25006","message":"refused"}
        GET /rpc/refuse?how=P0002 => 500 {"code":"P0002","message":"refused"}
        GET /rpc/refuse?how=XX001 => 500 {"code":"XX001","message":"refused"}
        GET /rpc/refuse?how=HV000 => 500 {"code":"HV000","message":"refused"}
        GET /rpc/refuse?how=58030 => 500 {"code":"58030","message":"refused"}
        GET /rpc/refuse?how=22012 => 400 {"code":"22012","message":"refused"}
        GET /rpc/refuse?how=PT499 => 499 {"code":"PT499","message":"refused"}

        # Tokens.
        GET /vault => 401 {"code":"42501","message":"permission denied for table vault"}
        < www-authenticate: Bearer
        GET /tags
        > Authorization: Bearer nonsense
        => 401 {"code":"PGRST301","message":"Expected 3 parts in JWT; got 1"}
        < www-authenticate: Bearer error="invalid_token", error_description="Expected 3 parts in JWT; got 1"
        GET /tags
        > Authorization: Bearer
        => 401 {"code":"PGRST301","message":"Empty JWT is sent in Authorization header"}
        < www-authenticate: Bearer error="invalid_token", error_description="Empty JWT is sent in Authorization header"
        GET /tags
        > As: lib_nobody
        => 403 {"code":"42501","message":"permission denied to set role \"lib_nobody\""}
        GET /tags
        > As: postgres
        => 403 {"code":"42501","message":"permission denied to set role \"postgres\""}

        # Only code and message here.
        @branch GET /nothing_here
        => 404 {"code":"PGRST205","message":"Could not find the table 'branch.nothing_here' in the schema cache"}
        @branch GET / => 404 {"code":"PGRST126","message":"Root endpoint metadata is disabled"}
        @branch GET /parents?id=eq.x => 400 {"code":"22P02","message":"invalid input syntax for type integer: \"x\""}
        @branch POST /parents
        > As: lib_clerk
        >> {"id":1}
        => 409 {"code":"23505","message":"duplicate key value violates unique constraint \"parents_pkey\""}
    "##;
    check(&street().await, table).await;
}

/// Features that have to work together.
#[tokio::test(flavor = "multi_thread")]
async fn features_meet() {
    let table = r##"
        GET /publishers?select=id,books(id,tags(name))&books.tags.order=name.desc&books.tags.limit=1&books.order=id&order=id
        => [{"id":1,"books":[{"id":1,"tags":[{"name":"red"}]},{"id":2,"tags":[{"name":"red"}]}]},
        | {"id":2,"books":[{"id":3,"tags":[{"name":"blue"}]}]}]
        GET /books?select=id,tags!inner(name)&tags.or=(name.eq.blue,name.eq.green)&order=id
        => [{"id":1,"tags":[{"name":"green"}]},{"id":3,"tags":[{"name":"blue"}]}]
        GET /books?select=id,tags(name)&tags.not.or=(name.eq.blue,name.eq.green)&order=id
        => [{"id":1,"tags":[{"name":"red"}]},{"id":2,"tags":[{"name":"red"}]},{"id":3,"tags":[]},{"id":4,"tags":[]}]
        GET /books?select=id,details->>lang,tags(count())&order=id
        => [{"id":1,"lang":"en","tags":[{"count":2}]},{"id":2,"lang":"en","tags":[{"count":1}]},
        | {"id":3,"lang":"pt","tags":[{"count":1}]},{"id":4,"lang":null,"tags":[{"count":0}]}]
        GET /books?select=author_id,price.sum(),label.count()&order=author_id
        => [{"author_id":1,"sum":22.50,"count":2},{"author_id":2,"sum":7.25,"count":1},
        | {"author_id":3,"sum":null,"count":1}]
        GET /books?select=id&order=label,id&limit=1 => [{"id":1}]
        GET /books?select=id,cheaper!inner(id)&order=id&cheaper.order=id
        => [{"id":1,"cheaper":[{"id":3}]},{"id":2,"cheaper":[{"id":1},{"id":3}]}]
        GET /books?select=id,cheaper(id,tags(name))&cheaper.id=eq.3&id=eq.2
        => [{"id":2,"cheaper":[{"id":3,"tags":[{"name":"blue"}]}]}]
        GET /books?select=id,last_loan(taken)&order=last_loan(taken).desc.nullslast,id
        => [{"id":1,"last_loan":{"taken":"2024-03-05"}},{"id":3,"last_loan":{"taken":"2024-03-01"}},
        | {"id":2,"last_loan":null},{"id":4,"last_loan":null}]
        GET /books?select=id,last_loan()&last_loan=is.null&order=id => [{"id":2},{"id":4}]
        GET /rpc/books_of?author=1&select=id,tags!inner(name)&tags.name=eq.green
        => [{"id":1,"tags":[{"name":"green"}]}]
        GET /rpc/books_of?author=1&select=id,...publishers(name) => [{"id":1,"name":"Hill"},{"id":2,"name":"Hill"}]
        GET /rpc/books_of?author=1&title=eq.Engines&select=id => [{"id":1}]
        HEAD /rpc/books_of?author=1
        > Prefer: count=exact
        => 200
        < content-range: 0-1/2
        GET /books?select=id&title=like(any).{"Stones, *",Riv*}&order=id => [{"id":3},{"id":4}]
        GET /books?select=id&details->langs=cs.["en"] => [{"id":1}]
        GET /books?"id"=eq.1&select="id", "title" , pages => [{"id":1,"title":"Engines","pages":300}]
        GET /books?select=id,publishers!publisher_id!inner( name )&id=eq.1 => [{"id":1,"publishers":{"name":"Hill"}}]
        GET /loans?select=id,books!inner(id,publishers!inner(id))&books.publishers.id=eq.2
        => [{"id":2,"books":{"id":3,"publishers":{"id":2}}}]
        GET /members?select=id,name,loans(books(title))&loans.books.title=eq.Rivers&id=eq.1&loans.order=id
        => [{"id":1,"name":"Mia","loans":[{"books":null},{"books":{"title":"Rivers"}}]}]
        GET /books?select=id,covers(ground)&covers.ground=eq.%230000FF&id=lt.4&order=id
        => [{"id":1,"covers":{"ground":"#0000FF"}},{"id":2,"covers":null},{"id":3,"covers":null}]
        GET /covers?or=(ground.eq.%230000FF,book_id.eq.3)&select=book_id&order=book_id
        => [{"book_id":1},{"book_id":3}]
        GET /books?select=id,publishers(name)&or=(publishers.name.eq.Lake,id.eq.4) => 400 {"code":"PGRST100"}
        PATCH /tags?id=lt.3
        > As: lib_clerk
        > Prefer: count=exact
        >> {"name":"z"}
        => 204
        < content-range: 0-1/2
        < preference-applied: count=exact
        POST /tags
        > As: lib_clerk
        > Prefer: count=exact
        >> [{"id":80,"name":"z"},{"id":81,"name":"y"}]
        => 201
        < content-range: */2
        POST /rpc/drop_notes
        > As: lib_clerk
        > Accept: application/vnd.pgrst.object+json
        >> {"which":"a"}
        => 406 {"code":"PGRST116","message":"Cannot coerce the result to a single JSON object","details":"The result contains 2 rows"}
        GET /notes?shelf=eq.a&select=slot&order=slot => [{"slot":1},{"slot":2}]
        PATCH /books?id=eq.1&select=id,tags(name)&tags.name=eq.z&tags.limit=1
        > As: lib_clerk
        > Prefer: return=representation
        >> {"pages":5}
        => [{"id":1,"tags":[{"name":"z"},{"name":"z"}]}]
        PUT /book_tags?book_id=eq.1&tag_id=eq.3&select=weight,tags(name),books(title)
        > As: lib_clerk
        > Prefer: return=representation
        >> {"book_id":1,"tag_id":3,"weight":7}
        => 201 [{"weight":7,"tags":{"name":"blue"},"books":{"title":"Engines"}}]
        POST /cheap_books
        > As: lib_clerk
        > Prefer: return=headers-only
        >> {"id":77,"name":"v","author_id":1,"price":1}
        => 201
        < location: /api/cheap_books?id=eq.77
        POST /covers?select=book_id,ground,books(id,publishers(name))
        > As: lib_clerk
        > Prefer: return=representation
        >> {"book_id":4,"ground":"#00000a"}
        => 201 [{"book_id":4,"ground":"#00000A","books":{"id":4,"publishers":null}}]
        POST /covers?on_conflict=book_id
        > As: lib_clerk
        > Prefer: resolution=merge-duplicates, return=representation
        >> {"book_id":4,"ground":"#00000b"}
        => [{"book_id":4,"ground":"#00000B","artist":null}]
        POST /tags?columns=id,name
        > As: lib_clerk
        > Content-Type: text/csv
        > Prefer: return=representation
        >> name,id,junk
        >> a,200,x
        => 201 [{"id":200,"name":"a"}]
        POST /notes?columns=shelf,slot,stars&select=body,stars
        > As: lib_clerk
        > Prefer: return=representation, missing=null
        >> [{"shelf":"n","slot":1}]
        => 201 [{"body":"empty","stars":null}]
        POST /visits
        > As: lib_clerk
        >> {"id":9,"day":"2030-03-03","member_id":1}
        => 400 {"code":"23514"}
        @gate POST /things
        > X-Promote: yes
        > Prefer: return=representation
        >> {"id":5}
        => 201 [{"id":5}]
        @gate DELETE /things?id=eq.5
        > X-Banned: yes
        => 403 {"code":"PT403"}
        @gate DELETE /things?id=eq.5
        > X-Promote: yes
        => 204
    "##;
    check(&street().await, table).await;
}

/// How Postgres would answer, for reads, calls and writes, and without doing any of it.
#[tokio::test(flavor = "multi_thread")]
async fn plans_and_timings() {
    let street = street().await;
    for (request, accept, content_type) in [
        (
            "GET /books?select=id,tags(name)&id=eq.1",
            "application/vnd.pgrst.plan+json",
            r#"application/vnd.pgrst.plan+json; for="application/json"; charset=utf-8"#,
        ),
        (
            "GET /books",
            r#"application/vnd.pgrst.plan+json; for="text/csv"; options=analyze|verbose|settings|buffers|wal;"#,
            "application/vnd.pgrst.plan+json; for=\"text/csv\"; options=analyze|verbose|settings|buffers|wal; \
             charset=utf-8",
        ),
        (
            "GET /books",
            r#"application/vnd.pgrst.plan+json; for="application/vnd.pgrst.object"; options=verbose"#,
            "application/vnd.pgrst.plan+json; for=\"application/vnd.pgrst.object+json\"; options=verbose; charset=utf-8",
        ),
        (
            "GET /rpc/books_of?author=1",
            "application/vnd.pgrst.plan+json",
            r#"application/vnd.pgrst.plan+json; for="application/json"; charset=utf-8"#,
        ),
        (
            "DELETE /book_tags",
            "application/vnd.pgrst.plan+json",
            r#"application/vnd.pgrst.plan+json; for="application/json"; charset=utf-8"#,
        ),
    ] {
        let headers = [
            ("Accept", accept),
            ("As", "lib_clerk"),
            ("Prefer", "return=representation"),
        ];
        let reply = send(&street, request, &headers, "").await;
        assert_eq!(reply.status, 200, "{request}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some(content_type), "{request}");
        assert!(
            reply.json()[0]["Plan"]["Total Cost"].is_number(),
            "{request}: {reply:?}"
        );
    }
    let reply = send(&street, "GET /books", &[("Accept", "application/vnd.pgrst.plan")], "").await;
    assert_eq!(
        reply.header("content-type"),
        Some(r#"application/vnd.pgrst.plan+text; for="application/json"; charset=utf-8"#)
    );
    assert!(reply.body.contains("(cost="), "{reply:?}");
    let table = r#"
        GET /books
        > Accept: application/vnd.pgrst.plan+json; for="image/png"
        => 406 {"code":"PGRST107"}
        GET /book_tags?select=count() => [{"count":4}]
    "#;
    check(&street, table).await;

    let timed = send(&street, "@branch GET /parents", &[], "").await;
    let timing = timed.header("server-timing").unwrap_or_default();
    assert!(
        timing.starts_with("jwt;dur=") && timing.contains("transaction;dur="),
        "{timed:?}"
    );
    assert_eq!(send(&street, "GET /tags", &[], "").await.header("server-timing"), None);
}

/// Texts that break out of whatever is quoted, parsed or counted without care.
fn hostile() -> Vec<String> {
    let mut texts = [
        "'",
        "\"",
        "\\",
        "''",
        "'; DELETE FROM library.canary; --",
        "\"; DELETE FROM library.canary; --",
        "\\'; DELETE FROM library.canary; --",
        "1); DELETE FROM library.canary; --",
        "$$; DELETE FROM library.canary; --",
        "*/ DELETE FROM library.canary; /*",
        ";--",
        "--",
        "/*",
        "$1",
        "$99999999999",
        "$$",
        "%s",
        "\0",
        "a\0b",
        ",",
        ".",
        "..",
        "...",
        ":",
        "::",
        "(",
        ")",
        "()",
        "{",
        "{}",
        "{,}",
        "{\"",
        "[",
        "[1,",
        "*",
        "->",
        "->>",
        "->-1",
        "->99999999999999999999",
        "!",
        "!inner",
        "not.",
        "not.not.eq.1",
        "null",
        "NaN",
        "-1",
        "1e999999",
        "99999999999999999999999",
        "select",
        "and",
        "or",
        "limit",
        "ctid",
        "tableoid",
        "pg_catalog.pg_authid",
        "eq.",
        "in.(",
        "is.null",
        "and(not.or(a.eq.1,",
        "naïve ☕ 🦉",
        "\u{202e}\u{200b}\u{feff}",
        "\r\n\t",
        "\u{1b}[31m",
        "\u{2028}",
    ]
    .map(str::to_owned)
    .to_vec();
    for (text, times) in [
        ("a", 300),
        ("\"", 501),
        ("\\", 501),
        ("e\u{301}", 50),
        ("x", 6_000),
        ("(", 2_000),
        ("a(", 100),
        ("or(", 100),
    ] {
        texts.push(text.repeat(times));
    }
    texts
}

/// With nothing in it that means anything to a URL.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Whatever is sent is fine or the client's own mistake. `headers` end with a line break each.
async fn survives(street: &Street, method: &str, path: &str, headers: &str, body: &str) {
    let token = token_for("library", "lib_clerk", KEY);
    let head = format!(
        "{method} /api{path} HTTP/1.1\r\nHost: library.localhost\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    let reply = street.raw(head.as_bytes()).await;
    assert!(
        (200..500).contains(&reply.status),
        "{method} {path:?} {headers:?} {body:?}: {reply:?}"
    );
}

/// The clerk may change this table, but nobody has asked for that.
async fn the_canary_sings(street: &Street) {
    let database = street.superuser().await;
    let row = database
        .query_one(
            "SELECT string_agg(id || song, ' ' ORDER BY id) FROM library.canary",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "1la 2li");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_urls_do_no_harm() {
    let street = street().await;
    let texts = hostile();
    for template in [
        "GET /{}",
        "GET /rpc/{}",
        "OPTIONS /{}",
        "GET /books?{}=eq.1",
        "GET /books?title=eq.{}",
        "GET /books?title=like.{}",
        "GET /books?title=match.{}",
        "GET /books?title=fts.{}",
        "GET /books?title=fts({}).x",
        "GET /books?title={}.x",
        "GET /books?title=not.{}",
        "GET /books?title=eq(any).{}",
        "GET /books?id=in.({})",
        "GET /books?keywords=cs.{}",
        "GET /books?details=cs.{}",
        "GET /books?shelves=ov.{}",
        "GET /books?or=({})",
        "GET /books?and=(title.eq.{}",
        "GET /books?select={}",
        "GET /books?select=id::{}",
        "GET /books?select=a{}:id",
        "GET /books?select=...{}(id)",
        "GET /books?select=publishers!{}(id)",
        "GET /books?select=id.{}()",
        "GET /books?select=details->>{}",
        "GET /books?details->{}=eq.1",
        "GET /books?order=id.{}",
        "GET /books?order=publishers({})&select=publishers(id)",
        "GET /books?limit={}",
        "GET /books?publishers.{}=eq.1&select=publishers(id)",
        "GET /rpc/greet?{}=1",
        "GET /rpc/setting?name={}",
        "GET /rpc/longest?words={}",
        "POST /tags?columns={}",
        "POST /tags?on_conflict={}",
        "PATCH /tags?{}=eq.1",
        "PUT /tags?id=eq.{}",
        "DELETE /tags?{}",
        "DELETE /tags?name=eq.{}",
    ] {
        let (method, path) = template.split_once(' ').unwrap();
        for text in &texts {
            let path = path.replace('>', "%3E").replace("{}", &escaped(text));
            let body = if method.starts_with('P') {
                r#"{"id":1000,"name":"x"}"#
            } else {
                ""
            };
            survives(&street, method, &path, "", body).await;
        }
    }
    the_canary_sings(&street).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_headers_and_bodies_do_no_harm() {
    let street = street().await;
    for text in hostile() {
        for header in [
            "Prefer: ",
            "Prefer: timezone=",
            "Prefer: count=",
            "Prefer: handling=strict, ",
            "Range: ",
            "Accept: ",
            "Accept: application/vnd.pgrst.plan+json; for=",
            "Accept-Profile: ",
            "Content-Profile: ",
            "Content-Type: ",
            "Authorization: Bearer ",
            "Cookie: ",
            "Origin: ",
            "X-Odd: ",
        ] {
            let headers = format!("{header}{text}\r\n");
            survives(&street, "GET", "/tags", &headers, "").await;
            survives(&street, "POST", "/rpc/greet", &headers, "{}").await;
        }
        for (content_type, body) in [
            ("application/json", text.clone()),
            ("application/json", json!({ text.as_str(): 1 }).to_string()),
            ("application/json", json!({ "id": 1000, "name": text }).to_string()),
            ("application/json", json!([{ "id": text, "name": text }]).to_string()),
            ("text/csv", text.clone()),
            ("text/csv", format!("id,name\n1000,{text}")),
            ("text/csv", format!("{text},name\n1,2")),
            ("application/x-www-form-urlencoded", text.clone()),
            ("application/x-www-form-urlencoded", format!("id={text}")),
        ] {
            let headers = format!("Content-Type: {content_type}\r\n");
            for (method, path) in [("POST", "/tags"), ("PATCH", "/tags?id=eq.1000"), ("POST", "/rpc/greet")] {
                survives(&street, method, path, &headers, &body).await;
            }
        }
    }
    the_canary_sings(&street).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_is_stored_found_and_given_back_as_it_is() {
    let street = street().await;
    let texts = hostile()
        .into_iter()
        .filter(|text| !text.contains('\0') && text.len() < 600);
    for (number, text) in (100..).zip(texts) {
        let headers = [("As", "lib_clerk"), ("Prefer", "return=representation")];
        let row = json!({ "a": number, "b": text });
        let made = send(&street, "POST /keyless", &headers, &row.to_string()).await;
        assert_eq!((made.status, made.json()), (201, json!([row])), "{text:?}");
        let quoted = escaped(&text.replace('\\', "\\\\").replace('"', "\\\""));
        let plain = escaped(&text);
        for filter in [
            format!("b=eq.{plain}"),
            format!("b=in.(%22{quoted}%22,%22%22)"),
            format!("or=(b.eq.%22{quoted}%22,b.eq.%22%22)"),
        ] {
            let found = send(&street, &format!("GET /keyless?select=a&{filter}"), &[], "").await;
            assert_eq!(
                (found.status, found.json()),
                (200, json!([{ "a": number }])),
                "{filter}: {text:?}"
            );
        }
        let who = json!({ "who": text }).to_string();
        let said = send(&street, "POST /rpc/greet", &[], &who).await;
        assert_eq!(said.json(), json!(format!("hello {text}!")), "{text:?}");
    }
    the_canary_sings(&street).await;
}

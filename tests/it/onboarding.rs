//! From a file to a serving tenant and back, while everybody else is served.

#![expect(clippy::print_stderr, reason = "a failed test says what it met")]

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::{EXAMPLE, Reply, Street, until};

/// A file promises to be live within a second; a machine that is busy with other tests may take three.
const LIVE: Duration = Duration::from_secs(3);

fn tenant(id: &str) -> String {
    format!("[tenants.{id}]\nhosts = [\"{id}.localhost\"]\nhome = \"mylist\"\n")
}

/// Asks until the answer has `status`, and returns it.
async fn answer(street: &Street, host: &str, status: u16) -> Reply {
    let asked = Instant::now();
    let mut last = None;
    until(LIVE, &format!("{host} answering {status}"), async || {
        let reply = street.get(host, "/api/mylist?select=text").await;
        let done = reply.status == status;
        last = Some(reply);
        done
    })
    .await;
    eprintln!("{host}: {status} after {:?}", asked.elapsed());
    last.unwrap()
}

/// Asks `host` without a break until `work` is done. Every answer must be 200.
async fn under_load(street: &Street, host: &str, work: impl Future<Output = ()>) {
    let load = async {
        let mut answers = 0_u32;
        loop {
            let reply = street.get(host, "/api/mylist?limit=1").await;
            assert_eq!(reply.status, 200, "request {answers} of {host}: {reply:?}");
            answers += 1;
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = load => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_file_goes_live_and_a_removed_one_keeps_its_rows() {
    let street = Street::example().await;
    assert_eq!(street.get("acme.localhost", "/api/mylist").await.status, 404);
    street.write("acme.toml", &tenant("acme"));
    answer(&street, "acme.localhost", 200).await;
    let made = street
        .write_as("POST", "acme", "acme.localhost", "/api/mylist", r#"{"text":"stays"}"#)
        .await;
    assert_eq!(made.status, 201, "{made:?}");

    street.remove("acme.toml");
    let reply = answer(&street, "acme.localhost", 404).await;
    assert_eq!(reply.code(), "unknown_host");
    assert!(street.status().await["tenants"]["acme"].is_null());
    let count = "SELECT count(*) FROM acme.mylist";
    let row = street.superuser().await.query_one(count, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1, "the data of a removed tenant is gone");

    street.write("acme.toml", &tenant("acme"));
    let reply = answer(&street, "acme.localhost", 200).await;
    assert_eq!(reply.body, r#"[{"text":"stays"}]"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_changes_nothing_and_says_where() {
    let street = Street::example().await;
    let errors = async || street.status().await["config_errors"].to_string();
    // A new file, then a change to the one whose tenants are served.
    for (name, text, place) in [
        (
            "acme.toml",
            format!("{}hoem = \"mylist\"\n", tenant("acme")),
            "acme.toml:4:1: ",
        ),
        (
            "example.toml",
            format!("{EXAMPLE}  hoem = \"x\"\n"),
            "example.toml:12:3: ",
        ),
    ] {
        street.write(name, &text);
        until(LIVE, place, async || errors().await.contains(place)).await;
        for host in ["cliente.localhost", "cliente2.localhost"] {
            assert_eq!(street.get(host, "/api/mylist").await.status, 200, "{host} after {name}");
        }
        assert_eq!(street.get("acme.localhost", "/api/mylist").await.status, 404);
    }
    // Other files count all the same.
    street.write("other.toml", &tenant("other"));
    answer(&street, "other.localhost", 200).await;
    street.write("example.toml", EXAMPLE);
    street.write("acme.toml", &tenant("acme"));
    answer(&street, "acme.localhost", 200).await;
    assert_eq!(errors().await, "[]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_of_others_fails_while_files_change() {
    let street = Street::example().await;
    let changes = async {
        for round in 0..6 {
            let name = format!("new{round}");
            street.write("new.toml", &tenant(&name));
            answer(&street, &format!("{name}.localhost"), 200).await;
            street.write("broken.toml", "[tenants.");
            // The served tenant's own limits change as well: it goes on as it was until it is ready as it shall be.
            let changed = EXAMPLE.replace(
                "home = \"mylist\"",
                &format!("home = \"mylist\"\npool_max = {}", 2 + round),
            );
            street.write("example.toml", &changed);
            street.remove("broken.toml");
            street.remove("new.toml");
            answer(&street, &format!("{name}.localhost"), 404).await;
        }
    };
    under_load(&street, "cliente.localhost", changes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_tenants_at_once_all_go_live() {
    let street = Street::with_budget(8, "", EXAMPLE).await;
    let started = Instant::now();
    let work = async {
        for n in 0..30 {
            street.write(&format!("t{n}.toml"), &tenant(&format!("t{n}")));
        }
        until(Duration::from_secs(20), "thirty tenants going live", async || {
            let status = street.status().await;
            let states: Vec<_> = (0..30).map(|n| &status["tenants"][format!("t{n}")]["state"]).collect();
            assert!(!states.iter().any(|state| *state == "failed"), "{status}");
            states.iter().all(|state| *state == "live")
        })
        .await;
    };
    under_load(&street, "cliente.localhost", work).await;
    eprintln!("thirty tenants live after {:?}", started.elapsed());
    for n in 0..30 {
        let reply = street.get(&format!("t{n}.localhost"), "/api/mylist").await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "[]"), "t{n}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_cannot_be_brought_up_fails_alone_and_says_why() {
    let street = Street::example().await;
    let superuser = street.superuser().await;
    superuser.batch_execute("CREATE SCHEMA squatted").await.unwrap();
    street.write("more.toml", &format!("{}{}", tenant("squatted"), tenant("fine")));
    let reply = answer(&street, "squatted.localhost", 503).await;
    until(LIVE, "the failure", async || {
        street.get("squatted.localhost", "/api/mylist").await.code() == "tenant_failed"
    })
    .await;
    assert!(reply.header("Retry-After").is_some(), "{reply:?}");
    let failed = street.get("squatted.localhost", "/api/mylist").await;
    assert!(failed.header("Retry-After").is_some(), "{failed:?}");
    assert!(
        !failed.body.contains("postgres"),
        "the reason is the operator's alone: {failed:?}"
    );
    let status = street.status().await;
    let squatted = &status["tenants"]["squatted"];
    assert_eq!(squatted["state"], "failed");
    let reason = squatted["reason"].as_str().unwrap();
    for part in ["more.toml:1", "schema `squatted` already exists", "`postgres`"] {
        assert!(reason.contains(part), "{part:?} is not in {reason:?}");
    }
    answer(&street, "fine.localhost", 200).await;
    assert_eq!(street.get("cliente.localhost", "/api/mylist").await.status, 200);

    // What was in the way is gone: the next change of the configuration tries again.
    superuser.batch_execute("DROP SCHEMA squatted").await.unwrap();
    street.edge().reload();
    answer(&street, "squatted.localhost", 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_over_the_same_data_changes_nothing() {
    const STATE: &str = "SELECT string_agg(format('%s %s %s', nspname, relname, relacl), E'\n' ORDER BY 1) \
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
        WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'";
    const HISTORY: &str = "SELECT string_agg(format('%s %s', version, applied_on), ' ' ORDER BY version) \
        FROM cliente.rowhouse_migrations";
    async fn state(street: &Street) -> (String, String) {
        let superuser = street.superuser().await;
        let row = superuser.query_one(STATE, &[]).await.unwrap();
        let history = superuser.query_one(HISTORY, &[]).await.unwrap();
        (row.get(0), history.get(0))
    }
    let mut street = Street::example().await;
    let made = street
        .write_as(
            "POST",
            "cliente",
            "cliente.localhost",
            "/api/mylist",
            r#"{"text":"kept"}"#,
        )
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let before = state(&street).await;
    for _ in 0..2 {
        street = street.restarted().await;
        let reply = street.get("cliente.localhost", "/api/mylist?select=text").await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (200, r#"[{"text":"kept"}]"#),
            "{reply:?}"
        );
        let status = street.status().await;
        for tenant in ["adm", "cliente", "cliente2"] {
            assert_eq!(status["tenants"][tenant]["state"], "live", "{status}");
        }
        assert_eq!(state(&street).await, before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_brings_new_migrations_to_tenants_that_are_served() {
    let street = Street::example().await;
    let work = async {
        let path = "/api/mylist?select=priority";
        assert_eq!(street.get("cliente2.localhost", path).await.status, 400);
        street.write_migration("shared/V2__motto.sql", "CREATE TABLE motto (id int PRIMARY KEY)");
        street.write_migration("tenant/V4__priority.sql", "ALTER TABLE mylist ADD priority int");
        // A change of files right behind it must not make the edge forget that all tenants are to be looked at.
        street.edge().reload();
        street.write("acme.toml", &tenant("acme"));
        for host in ["cliente.localhost", "cliente2.localhost"] {
            until(LIVE, "the new column", async || {
                street.get(host, path).await.status == 200
            })
            .await;
            assert_eq!(street.get(host, "/api/motto").await.body, "[]");
        }
        // One that fails changes nothing for anybody.
        street.write_migration("tenant/V5__broken.sql", "ALTER TABLE nothing ADD priority int");
        street.edge().reload();
        sleep(Duration::from_millis(500)).await;
        for host in ["cliente.localhost", "cliente2.localhost"] {
            assert_eq!(street.get(host, path).await.status, 200);
        }
    };
    under_load(&street, "cliente.localhost", work).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_shared_table_is_seen_by_tenants_that_have_nothing_to_do_themselves() {
    let street = Street::example().await;
    assert_eq!(street.get("cliente.localhost", "/api/motto").await.status, 404);
    street.write_migration("shared/V2__motto.sql", "CREATE TABLE motto (id int PRIMARY KEY)");
    // Brought in by somebody else's onboarding, without a signal.
    street.write("acme.toml", &tenant("acme"));
    answer(&street, "acme.localhost", 200).await;
    for host in ["cliente.localhost", "cliente2.localhost", "adm.localhost"] {
        let reply = street.get(host, "/api/motto").await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "[]"), "{host}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_all_tenants_stand_on_changes_at_the_next_start_only() {
    let mut street = Street::example().await;
    let toml = street.rowhouse_toml();
    // The neighbour's schema as the shared one would give it the operator's rights at once.
    for change in [
        "[shared]\nschema = \"cliente\"\n",
        "[clusters.other]\nembedded = true\n",
    ] {
        street.write_rowhouse_toml(&format!("{toml}{change}"));
        until(LIVE, "the message", async || {
            street.status().await["config_errors"]
                .to_string()
                .contains("before the next start")
        })
        .await;
        let reply = street.get("cliente.localhost", "/").await;
        assert!(reply.body.contains("mylist"), "{change}: {reply:?}");
        let rights = "SELECT pg_has_role('rowhouse_cliente_user', 'rowhouse_shared_write', 'member')";
        let row = street.superuser().await.query_one(rights, &[]).await.unwrap();
        assert!(!row.get::<_, bool>(0), "{change}");
    }
    street.write_rowhouse_toml(&toml);
    street.write("acme.toml", &tenant("acme"));
    answer(&street, "acme.localhost", 200).await;
    assert_eq!(street.status().await["config_errors"].to_string(), "[]");
    street.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_make_room_for_a_new_tenant() {
    let street = Street::with_budget(3, "", EXAMPLE).await;
    for host in ["adm.localhost", "cliente.localhost", "cliente2.localhost"] {
        assert_eq!(street.get(host, "/api/beforeidie").await.status, 200);
    }
    assert_eq!(street.status().await["clusters"]["main"]["in_use"], 3);
    street.write("acme.toml", &tenant("acme"));
    answer(&street, "acme.localhost", 200).await;
}

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The order of the modules in `src/lib.rs`, top to bottom.
fn order() -> Vec<String> {
    let lib = fs::read_to_string("src/lib.rs").unwrap();
    let modules = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    modules.map(str::to_owned).collect()
}

#[test]
fn modules_depend_downward_only() {
    let order = order();
    assert!(order.len() > 15, "lib.rs lists the modules: {order:?}");
    for (index, module) in order.iter().enumerate() {
        for file in rust_files(Path::new("src"), module) {
            let text = fs::read_to_string(&file).unwrap();
            let file = file.display();
            assert!(
                !text.contains("use crate::{"),
                "{file}: one `use` per module, so this test can see it"
            );
            for above in &order[..index] {
                for end in ["::", ";", " "] {
                    let used = format!("crate::{above}{end}");
                    assert!(
                        !text.contains(&used),
                        "{file}: {module} uses {above}, which is above it"
                    );
                }
            }
        }
    }
}

#[test]
fn no_module_below_the_errors_names_a_status() {
    let order = order();
    let errors = order.iter().position(|module| module == "error").unwrap();
    // `server` answers for hyper where no request came to be; `traffic` counts by status class.
    for module in order[errors..]
        .iter()
        .filter(|module| !["server", "traffic"].contains(&module.as_str()))
    {
        for file in rust_files(Path::new("src"), module) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(
                !text.contains("StatusCode"),
                "{}: a status is decided in response/problem.rs",
                file.display()
            );
        }
    }
}

#[test]
fn sql_is_written_in_few_places() {
    // Requests' SQL in query/sql/; the rest is our own constant SQL about the cluster and the transaction.
    let allowed = [
        "catalog/load.rs",
        "demo.rs",
        "edge/mod.rs",
        "migrate/",
        "pool/cluster.rs",
        "pool/session.rs",
        "query/sql/",
        "service/run.rs",
        "users/store.rs",
    ];
    let mut writing: HashSet<&str> = HashSet::new();
    for module in order() {
        for file in rust_files(Path::new("src"), &module) {
            let name = file.strip_prefix("src").unwrap().display().to_string();
            // Tests, and the server that they play.
            if name.ends_with("/tests.rs") || name.starts_with("pool/simulation") {
                continue;
            }
            let Some(sql) = first_sql(&fs::read_to_string(&file).unwrap()) else {
                continue;
            };
            let place = allowed.iter().find(|allowed| name.starts_with(**allowed));
            assert!(place.is_some(), "{name} writes SQL: \"{sql}");
            writing.extend(place);
        }
    }
    for place in allowed {
        assert!(writing.contains(place), "{place} writes no SQL any more");
    }
}

/// The line in which a string of the code, tests and comments aside, first begins as a statement does.
fn first_sql(text: &str) -> Option<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next()?;
    let code: Vec<&str> = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join("\n");
    let mut strings = code.match_indices('"').map(|(at, _)| code[at + 1..].trim_start());
    let sql = strings.find(|string| begins_as_sql(string))?;
    sql.lines().next().map(str::to_owned)
}

fn begins_as_sql(string: &str) -> bool {
    const VERBS: &str = "SELECT VALUES TABLE WITH INSERT UPDATE DELETE MERGE TRUNCATE COPY BEGIN START COMMIT END ROLLBACK ABORT \
                         SAVEPOINT RELEASE SET RESET SHOW DISCARD LOCK PREPARE EXECUTE DEALLOCATE DECLARE FETCH MOVE CLOSE \
                         CREATE ALTER DROP COMMENT GRANT REVOKE REASSIGN SECURITY IMPORT REFRESH EXPLAIN ANALYZE VACUUM \
                         CLUSTER REINDEX CHECKPOINT LISTEN UNLISTEN NOTIFY CALL DO LOAD";
    const ALONE: [&str; 8] = [
        "BEGIN",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "VACUUM",
        "ANALYZE",
        "CHECKPOINT",
    ];
    let end = string.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(string.len());
    let (verb, rest) = string.split_at(end);
    if rest.starts_with(['"', ';']) {
        ALONE.contains(&verb)
    } else {
        rest.starts_with([' ', '\n', '(', '{']) && VERBS.split_whitespace().any(|known| known == verb)
    }
}

#[test]
fn sql_is_seen_whatever_it_begins_with() {
    for sql in [
        r#"f("SELECT 1")"#,
        "const SQL: &str = \"\n    WITH a AS (\";",
        "const SQL: &str = r\"\nWITH a AS (\";",
        r##"r#"INSERT INTO "a" VALUES ($1)"#"##,
        r#"push(" EXECUTE 'x'")"#,
        r#""UPDATE ""#,
        r#""DELETE FROM a""#,
        r#""BEGIN""#,
        r#""BEGIN{access}""#,
        r#""COMMIT; RESET ROLE""#,
        r#""ROLLBACK""#,
        r#""SET LOCAL a = b""#,
        r#""RESET ALL""#,
        r#""CREATE TABLE a ()""#,
        r#""ALTER ROLE {role}""#,
        r#""DROP ROLE a""#,
        r#""GRANT \"{a}\" TO b""#,
        r#""REVOKE a FROM b""#,
        r#""EXPLAIN (FORMAT JSON) ""#,
        r#""LISTEN {channel}""#,
        r#""DEALLOCATE ALL""#,
        r#""DO $$ BEGIN""#,
        r#""VALUES (1)""#,
        "// of old\nlet sql = \"SELECT 1\";",
    ] {
        assert!(first_sql(sql).is_some(), "{sql}");
    }
    for other in [
        "SELECT 1",
        r#"methods.push("DELETE")"#,
        r#""GET, POST, DELETE""#,
        r#""SETTINGS""#,
        r#""With care""#,
        "/// As in `\"SELECT 1\"`.",
        "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    const SQL: &str = \"SELECT 1\";\n}",
    ] {
        assert_eq!(first_sql(other), None, "{other}");
    }
}

fn rust_files(src: &Path, module: &str) -> Vec<PathBuf> {
    let mut files = vec![];
    let mut pending = vec![src.join(module), src.join(format!("{module}.rs"))];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
            files.push(path);
        }
    }
    files
}

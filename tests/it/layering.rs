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
    // `server` answers for hyper where no request came to be; `metrics` counts by status class.
    for module in order[errors..]
        .iter()
        .filter(|module| !["server", "metrics"].contains(&module.as_str()))
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
    // Requests' SQL in query/sql/; the rest is our own constant SQL about the cluster.
    let allowed = [
        "query/sql/",
        "catalog/load.rs",
        "migrate/",
        "pool/session.rs",
        "edge/",
        "demo.rs",
        "query/mod.rs",
    ];
    for module in order() {
        for file in rust_files(Path::new("src"), &module) {
            let name = file.strip_prefix("src").unwrap().display().to_string();
            let text = fs::read_to_string(&file).unwrap();
            let has_sql = ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE "]
                .iter()
                .any(|sql| text.contains(sql));
            assert!(
                !has_sql || allowed.iter().any(|allowed| name.starts_with(allowed)),
                "{name} writes SQL"
            );
        }
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

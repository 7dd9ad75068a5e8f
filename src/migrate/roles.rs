//! The names of all roles, and the SQL that creates them.

use std::fmt::Write as _;

use crate::types::{RoleName, TenantId};

/// The login of the edge on an embedded cluster.
pub const EDGE_LOGIN: &str = "rowhouse_edge";

/// Owns the shared tables; nobody connects as it.
pub(super) const SHARED_OWNER: &str = "rowhouse_shared_owner";
/// Reads the shared tables. Parallel `GRANT`s on one table fail ("tuple concurrently updated"), so tables are granted to
/// this group once, and every tenant becomes its member.
pub(super) const SHARED_READ: &str = "rowhouse_shared_read";
/// Writes the shared tables.
pub(super) const SHARED_WRITE: &str = "rowhouse_shared_write";

/// The one tenant id whose roles would be the shared ones.
pub(super) const RESERVED_ID: &str = "shared";

/// The role that owns the tenant's schema and tables, and runs its migrations.
#[must_use]
pub fn owner_role(tenant: &TenantId) -> RoleName {
    role(tenant, "owner")
}

/// The role of the tenant's requests without a token.
#[must_use]
pub fn anonymous_role(tenant: &TenantId) -> RoleName {
    role(tenant, "anon")
}

/// The role of the tenant's requests with a token.
#[must_use]
pub fn user_role(tenant: &TenantId) -> RoleName {
    role(tenant, "user")
}

/// The role that owns the shared tables.
#[must_use]
#[expect(clippy::expect_used, reason = "a constant that is a role name")]
pub fn shared_owner_role() -> RoleName {
    SHARED_OWNER.parse().expect("a role name")
}

/// Each ends in a word of its own, so no two tenants' roles can have one name.
#[expect(
    clippy::expect_used,
    reason = "an id has at most 40 bytes, the rest 15, and neither a control character"
)]
fn role(tenant: &TenantId, word: &str) -> RoleName {
    format!("rowhouse_{tenant}_{word}").parse().expect("a role name")
}

/// SQL: creates what is missing of `names`, and makes the login a member of `own`, so that it may `SET ROLE` to them.
///
/// Since PostgreSQL 16 the creator of a role may administer it but not become it: that takes this explicit `GRANT`, whose
/// default is `WITH SET TRUE`. The login is `NOINHERIT`, so the `GRANT` gives it no rights but that one.
///
/// The names are [`owner_role`] and its like, or constants: none holds a quote.
pub(super) fn create_sql(names: &[&str], own: &[&str]) -> String {
    let mut sql = String::from("DO $$ BEGIN\n");
    for name in names {
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            sql,
            "IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{name}') THEN \
             CREATE ROLE \"{name}\" NOLOGIN; END IF;"
        );
    }
    sql.push_str("END $$;\n");
    for name in own {
        let _ = writeln!(sql, "GRANT \"{name}\" TO CURRENT_USER;");
    }
    sql
}

/// SQL: makes `member` a member of `group`, or no longer one. Silent when it is so already.
pub(super) fn membership_sql(group: &str, member: &RoleName, wanted: bool) -> String {
    let quoted = member.quoted();
    let (not, change) = if wanted {
        ("NOT", format!("GRANT \"{group}\" TO {quoted}"))
    } else {
        ("", format!("REVOKE \"{group}\" FROM {quoted}"))
    };
    // Asked first, because since PostgreSQL 16 a `GRANT` locks the group until commit: only what is new should wait.
    format!(
        "DO $$ BEGIN IF {not} EXISTS (SELECT FROM pg_catalog.pg_auth_members \
         WHERE roleid = '\"{group}\"'::regrole AND member = '{quoted}'::regrole) THEN {change}; END IF; END $$;\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_id_gives_role_names_postgres_does_not_cut() {
        let id: TenantId = "x".repeat(TenantId::MAX_LEN).parse().unwrap();
        for role in [owner_role(&id), anonymous_role(&id), user_role(&id)] {
            assert!(role.as_str().len() <= RoleName::MAX_LEN);
        }
        assert_eq!(user_role(&"cliente".parse().unwrap()).as_str(), "rowhouse_cliente_user");
    }
}

//! The names of all roles, and the SQL that creates them.

use std::fmt::Write as _;

use postgres_protocol::password::scram_sha_256;

use crate::pool::Credentials;
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
/// May connect to the database: what tenants' own logins are members of.
pub(super) const SHARED_LOGIN: &str = "rowhouse_shared_login";

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

/// Whether `name` is that of the role of its requests, with a token or without.
#[must_use]
pub fn is_request_role(tenant: &TenantId, name: &str) -> bool {
    let of_tenant = name
        .strip_prefix("rowhouse_")
        .and_then(|rest| rest.strip_prefix(tenant.as_str()));
    matches!(of_tenant, Some("_anon" | "_user"))
}

/// The role that the tenant's connections log in as with [`Credentials::PerTenant`].
#[must_use]
pub fn login_role(tenant: &TenantId) -> RoleName {
    role(tenant, "login")
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

/// SQL: creates what is missing of `names`.
///
/// The names are [`owner_role`] and its like, or constants: none holds a quote.
pub(super) fn create_sql(names: &[&str]) -> String {
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
    sql
}

/// SQL: runs `sql`, whole statements that form one transaction with it, as `owner`: one of these roles, by its name.
///
/// The edge's login is a member of an owner only for as long as that: with ten thousand of them for good, PostgreSQL would
/// walk through all whenever it asks what the login may do.
#[must_use]
pub fn as_owner(owner: &str, sql: &str) -> String {
    format!(
        "{enter} SET LOCAL ROLE \"{owner}\";\n{sql}RESET ROLE; {leave}\n",
        enter = enter_sql(owner),
        leave = leave_sql(owner)
    )
}

/// SQL: makes the edge's login a member of `role`, so that it may `SET ROLE` to it.
///
/// Since PostgreSQL 16 the creator of a role may administer it but not become it: that takes this explicit `GRANT`, whose
/// default is `WITH SET TRUE`.
pub(super) fn enter_sql(role: &str) -> String {
    format!("GRANT \"{role}\" TO CURRENT_USER;")
}

/// SQL: the opposite of [`enter_sql`].
pub(super) fn leave_sql(role: &str) -> String {
    format!("REVOKE \"{role}\" FROM CURRENT_USER;")
}

/// SQL: who may become the roles of the tenant's requests, which is whoever its connections log in as. Nobody else.
///
/// The tenant's login inherits what its roles may do: whoever could run SQL of their own in it could become them anyway,
/// and `CONNECT` on the database is asked for before any role is taken on.
pub(super) fn login_sql(tenant: &TenantId, credentials: &Credentials) -> String {
    let login = login_role(tenant);
    let roles = [anonymous_role(tenant), user_role(tenant)];
    match credentials {
        Credentials::Shared => {
            let mut sql: String = roles.iter().map(|role| enter_sql(role.as_str())).collect();
            // From when the configuration said otherwise: it goes with everything it may do.
            let _ = writeln!(sql, "DROP ROLE IF EXISTS {};", login.quoted());
            sql
        }
        Credentials::PerTenant(passwords) => {
            let mut sql = create_sql(&[login.as_str()]);
            // A hash, so that the password itself is in no log of the server. It holds no quote.
            let password = passwords.of(&login).map_or_else(
                || "NULL".to_owned(),
                |password| format!("'{}'", scram_sha_256(password.expose())),
            );
            let _ = writeln!(sql, "ALTER ROLE {} LOGIN INHERIT PASSWORD {password};", login.quoted());
            sql.push_str(&membership_sql(SHARED_LOGIN, &login, true));
            for role in &roles {
                sql.push_str(&membership_sql(role.as_str(), &login, true));
                sql.push_str(&quietly(&leave_sql(role.as_str())));
            }
            sql
        }
    }
}

/// SQL: `sql` without its warnings, for what may have nothing to do.
pub(super) fn quietly(sql: &str) -> String {
    format!("SET LOCAL client_min_messages = error; {sql} SET LOCAL client_min_messages = warning;\n")
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
        for role in [owner_role(&id), anonymous_role(&id), user_role(&id), login_role(&id)] {
            assert!(role.as_str().len() <= RoleName::MAX_LEN);
        }
        assert_eq!(user_role(&"cliente".parse().unwrap()).as_str(), "rowhouse_cliente_user");
    }

    #[test]
    fn requests_run_as_two_of_a_tenants_roles_and_no_others() {
        let [id, other]: [TenantId; 2] = ["a", "a_b"].map(|id| id.parse().unwrap());
        for role in [anonymous_role(&id), user_role(&id)] {
            assert!(is_request_role(&id, role.as_str()));
            assert!(!is_request_role(&other, role.as_str()));
        }
        for role in [owner_role(&id), login_role(&id), user_role(&other)] {
            assert!(!is_request_role(&id, role.as_str()));
        }
        assert!(!is_request_role(&id, "a_user"));
    }
}

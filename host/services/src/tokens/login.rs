//! Whether a user is there and a login session lives, as the rows in PostgreSQL
//! say at this moment: the one rule by which requests and open sockets are
//! judged.

use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

/// What the rows say of a user and one login session of theirs.
#[derive(Clone, Debug)]
pub struct Login {
    pub session_id: Uuid,
    pub email: String,
    pub role: String,
    /// The user's account is closed.
    pub is_deleted: bool,
    /// The session is this user's and was not revoked.
    pub session_lives: bool,
}

/// The columns of a [`Login`], of a user `u` and an asked-for session `t`.
macro_rules! login {
    ($from:literal) => {
        concat!(
            "select t.session_id, u.email::text as email, u.role::text as role,
                    u.deleted_at is not null as is_deleted,
                    exists (select from public.refresh_sessions s
                            where s.id = t.session_id and s.user_id = u.id and s.revoked_at is null) as session_lives
             from ",
            $from,
            " as t (user_id, session_id) join public.users u on u.id = t.user_id"
        )
    };
}

impl Login {
    /// The user is there, and the session is theirs and was not revoked.
    pub fn lives(&self) -> bool {
        self.session_lives && !self.is_deleted
    }

    /// None: there is no such user.
    pub async fn find(connection: &mut PgConnection, user_id: Uuid, session_id: Uuid) -> sqlx::Result<Option<Login>> {
        let select = sqlx::query(login!("(values ($1::uuid, $2::uuid))")).bind(user_id).bind(session_id);
        select.fetch_optional(connection).await?.as_ref().map(Login::read).transpose()
    }

    /// Of many at once, in any order; those whose user is not there are missing.
    /// `user_ids` and `session_ids` belong together by their positions.
    pub async fn find_all(
        connection: &mut PgConnection,
        user_ids: &[Uuid],
        session_ids: &[Uuid],
    ) -> sqlx::Result<Vec<Login>> {
        let select = sqlx::query(login!("unnest($1::uuid[], $2::uuid[])")).bind(user_ids).bind(session_ids);
        select.fetch_all(connection).await?.iter().map(Login::read).collect()
    }

    fn read(row: &PgRow) -> sqlx::Result<Login> {
        Ok(Login {
            session_id: row.try_get("session_id")?,
            email: row.try_get("email")?,
            role: row.try_get("role")?,
            is_deleted: row.try_get("is_deleted")?,
            session_lives: row.try_get("session_lives")?,
        })
    }
}

//! People.

use jiff::Timestamp;
use panda_domain::ids::UserId;
use panda_domain::names::Email;

use crate::error::{Result, StoreError};
use crate::sql::Row;
use crate::tx::Tx;

/// A person with an account.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Their address, which they sign in with.
    pub email: Email,
    /// Hash of their password, in PHC form.
    pub password_hash: String,
    /// When the account was made.
    pub created_at: Timestamp,
    /// Since when they may not sign in.
    pub disabled_at: Option<Timestamp>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("email", &self.email).finish_non_exhaustive()
    }
}

/// An account to be made.
#[derive(Clone)]
pub struct NewUser {
    /// Their address.
    pub email: Email,
    /// Hash of their password, in PHC form.
    pub password_hash: String,
}

macro_rules! select {
    ($rest:literal) => {
        concat!("select id, email, password_hash, created_at, disabled_at from users ", $rest)
    };
}

fn read(row: &Row) -> Result<User> {
    Ok(User {
        id: row.parse("id")?,
        email: row.parse("email")?,
        password_hash: row.text("password_hash")?,
        created_at: row.time("created_at")?,
        disabled_at: row.opt_time("disabled_at")?,
    })
}

impl Tx {
    /// Makes an account; `Taken` if the address has one.
    pub async fn insert_user(&mut self, new: &NewUser) -> Result<User> {
        let (id, now): (UserId, _) = (self.next_id(), self.now());
        let sql = "insert into users (id, email, password_hash, created_at) values ($1, $2, $3, $4)
            on conflict (email) do nothing";
        let made = self
            .sql("users", sql)
            .bind(&id)
            .bind(&new.email)
            .bind(&new.password_hash)
            .bind(now)
            .changed()
            .await?;
        if !made {
            return Err(StoreError::Taken { what: format!("e-mail address `{}`", new.email) });
        }
        Ok(User {
            id,
            email: new.email.clone(),
            password_hash: new.password_hash.clone(),
            created_at: now,
            disabled_at: None,
        })
    }

    /// Returns the person with this id.
    pub async fn user(&mut self, id: &UserId) -> Result<Option<User>> {
        self.sql("users", select!("where id = $1")).bind(id).maybe(read).await
    }

    /// Returns the person with this address.
    pub async fn user_by_email(&mut self, email: &Email) -> Result<Option<User>> {
        self.sql("users", select!("where email = $1")).bind(email).maybe(read).await
    }

    /// Returns everybody, oldest first. Not scoped to a team: for operators.
    pub async fn users(&mut self) -> Result<Vec<User>> {
        self.sql("users", select!("order by id")).list(read).await
    }

    /// Sets a person's password hash.
    pub async fn set_password(&mut self, id: &UserId, hash: &str) -> Result<()> {
        let sql = "update users set password_hash = $2 where id = $1";
        found(self.sql("users", sql).bind(id).bind(hash).changed().await?, id)
    }

    /// Disables or enables a person. Their sessions and tokens stop or go on working at once.
    pub async fn set_user_disabled(&mut self, id: &UserId, disabled: bool) -> Result<()> {
        let at = disabled.then(|| self.now());
        let sql = "update users set disabled_at = $2 where id = $1";
        found(self.sql("users", sql).bind(id).bind(at).changed().await?, id)
    }
}

fn found(found: bool, id: &UserId) -> Result<()> {
    if found { Ok(()) } else { Err(StoreError::not_found(format!("user `{id}`"))) }
}

//! Passwords: argon2id, kept as PHC strings; as slow for people that don't exist as for those who do.

use std::sync::OnceLock;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use panda_domain::names::Email;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::error::{Error, Result};

const MIN_CHARS: usize = 12;
const MAX_BYTES: usize = 1024;
/// Hashes that may run at once: each takes 19 MiB and a core.
const AT_ONCE: usize = 4;

/// Passwords of 12 characters or more that guessers try first.
const DENIED: &[&str] = &[
    "123456789012",
    "1234567890123",
    "12345678901234",
    "123456789101112",
    "1234567891011",
    "1q2w3e4r5t6y",
    "1qaz2wsx3edc",
    "administrator",
    "adminadminadmin",
    "changeme1234",
    "changemenow1",
    "correcthorsebatterystaple",
    "iloveyou1234",
    "letmeinletmein",
    "pandapandapanda",
    "password1234",
    "password12345",
    "password123456",
    "passwordpassword",
    "passw0rd1234",
    "qwerty123456",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiopasdfgh",
    "qwertyuiopasdfghjkl",
    "thisisapassword",
    "welcome12345",
];

/// A password that keeps the rules. Never prints.
#[derive(Debug, Clone)]
pub struct NewPassword(SecretString);

impl NewPassword {
    /// Checks the rules: 12 characters at least, 1024 bytes at most, not among the first guesses, not the address.
    pub fn parse(field: &str, text: String, email: &Email) -> Result<Self> {
        let lower = text.to_lowercase();
        let first = lower.chars().next();
        let refusal = if text.chars().count() < MIN_CHARS {
            "has to have at least 12 characters"
        } else if text.len() > MAX_BYTES {
            "may have at most 1024 bytes"
        } else if DENIED.contains(&lower.as_str()) || lower.chars().all(|c| Some(c) == first) {
            "is among the first that anybody would guess"
        } else if lower == email.as_str() {
            "may not be the e-mail address"
        } else {
            return Ok(Self(SecretString::from(text)));
        };
        Err(Error::invalid_field(field, format!("the password {refusal}")))
    }
}

/// Hashes and checks passwords, a few at a time, off the executor.
#[derive(Debug)]
pub struct Passwords {
    permits: Semaphore,
    /// What a login of an unknown address is checked against.
    nobody: OnceLock<String>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { permits: Semaphore::new(AT_ONCE), nobody: OnceLock::new() }
    }
}

impl Passwords {
    /// Hashes a new password into a PHC string.
    pub async fn hash(&self, password: &NewPassword) -> Result<String> {
        let password = password.0.clone();
        self.off_executor(move || phc(password.expose_secret())).await?
    }

    /// Tells whether the password is the one behind `stored`; takes equally long when nothing is stored.
    pub async fn verify(&self, stored: Option<String>, presented: SecretString) -> Result<bool> {
        if presented.expose_secret().len() > MAX_BYTES {
            return Ok(false);
        }
        let known = stored.is_some();
        let stored = match stored {
            Some(stored) => stored,
            None => self.nobody().await?,
        };
        let matches = self.off_executor(move || matches(&stored, presented.expose_secret())).await??;
        Ok(known && matches)
    }

    /// Makes the first login of an unknown address as quick as the second.
    pub async fn warm_up(&self) -> Result<()> {
        self.nobody().await.map(|_| ())
    }

    async fn nobody(&self) -> Result<String> {
        if let Some(hash) = self.nobody.get() {
            return Ok(hash.clone());
        }
        let unguessable = super::secret::HandedOut::random("");
        let hash = self.off_executor(move || phc(unguessable.reveal())).await??;
        Ok(self.nobody.get_or_init(|| hash).clone())
    }

    async fn off_executor<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)
    }
}

fn phc(password: &str) -> Result<String> {
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|e| Error::internal(format!("hash a password: {e}")))?;
    Ok(hash.to_string())
}

fn matches(stored: &str, presented: &str) -> Result<bool> {
    let stored = PasswordHash::new(stored)
        .map_err(|e| Error::internal(format!("read a stored password hash: {e}")))?;
    Ok(Argon2::default().verify_password(presented.as_bytes(), &stored).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email() -> Email {
        "ann.long.name@example.com".parse().unwrap()
    }

    #[test]
    fn guessable_passwords_are_refused() {
        for bad in ["short", "Password1234", "aaaaaaaaaaaaaaaa", "ann.long.name@example.com"] {
            assert!(NewPassword::parse("password", bad.to_owned(), &email()).is_err(), "{bad}");
        }
        assert!(NewPassword::parse("password", "x1".repeat(600), &email()).is_err());
        assert!(NewPassword::parse("password", "a decent sentence".to_owned(), &email()).is_ok());
    }

    #[tokio::test]
    async fn a_hash_is_argon2id_and_opens_for_its_password_alone() {
        let passwords = Passwords::default();
        let new = NewPassword::parse("password", "a decent sentence".to_owned(), &email()).unwrap();
        let hash = passwords.hash(&new).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(passwords.verify(Some(hash.clone()), "a decent sentence".into()).await.unwrap());
        assert!(!passwords.verify(Some(hash), "another sentence".into()).await.unwrap());
        assert!(!passwords.verify(None, "a decent sentence".into()).await.unwrap());
    }
}

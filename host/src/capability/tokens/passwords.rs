//! Argon2id and, for imported users, bcrypt. Each takes tens of milliseconds of
//! a core on purpose, so they run on blocking threads, one per core: more at a
//! time would only make each slower and take 19 MiB each.

use crate::capability::{Call, bindings::passwords::Host};
use argon2::{
    Argon2,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use std::sync::{Arc, LazyLock};
use tokio::sync::Semaphore;

/// Longer ones are refused by every form; this only bounds the work.
const MAX_BYTES: usize = 4096;

static CORES: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))));

/// Verified when there is no user, so that the time tells nobody.
static DUMMY: LazyLock<String> = LazyLock::new(|| hash("a password that nobody has").unwrap_or_default());

pub fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let salt = SaltString::encode_b64(uuid::Uuid::new_v4().as_bytes())?;
    Ok(Argon2::default().hash_password(password.as_bytes(), &salt)?.to_string())
}

fn verify(password: &str, stored: Option<&str>) -> bool {
    if let Some(stored) = stored
        && stored.starts_with("$2")
    {
        return bcrypt::verify(password, stored).unwrap_or(false);
    }
    let known = stored.and_then(|stored| PasswordHash::new(stored).ok());
    let is_known = known.is_some();
    let Some(hash) = known.or_else(|| PasswordHash::new(&DUMMY).ok()) else { return false };
    let fits = Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
    fits && is_known
}

async fn off_the_executor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> wasmtime::Result<T> {
    let permit = Arc::clone(&CORES).acquire_owned().await.map_err(wasmtime::Error::new)?;
    let task = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(permit);
        done
    });
    task.await.map_err(wasmtime::Error::new)
}

impl Host for Call {
    async fn hash(&mut self, password: String) -> wasmtime::Result<String> {
        if password.len() > MAX_BYTES {
            wasmtime::bail!("a password over {MAX_BYTES} bytes");
        }
        self.database.release();
        let hashed = off_the_executor(move || hash(&password)).await?;
        hashed.map_err(|error| wasmtime::Error::msg(error.to_string()))
    }

    async fn verify(&mut self, mut password: String, stored: Option<String>) -> wasmtime::Result<bool> {
        self.database.release();
        // As slow as any other, and never right.
        let too_long = password.len() > MAX_BYTES;
        if too_long {
            password.clear();
        }
        let fits = off_the_executor(move || verify(&password, stored.as_deref())).await?;
        Ok(fits && !too_long)
    }
}

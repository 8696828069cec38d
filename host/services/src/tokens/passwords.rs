//! Argon2id and, for imported users, bcrypt. Each takes tens of milliseconds of
//! a core on purpose, so they run on blocking threads, one per core: more at a
//! time would only make each slower and take 19 MiB each.

use argon2::{
    Argon2,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use std::sync::{Arc, LazyLock};
use tokio::sync::Semaphore;

/// Longer ones are refused by every form; this only bounds the work.
pub const MAX_BYTES: usize = 4096;

static CORES: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))));

/// Verified when there is no user, so that the time tells nobody.
static DUMMY: LazyLock<String> = LazyLock::new(|| hash_blocking("a password that nobody has").unwrap_or_default());

/// Argon2id as a PHC string.
pub fn hash_blocking(password: &str) -> Result<String, argon2::password_hash::Error> {
    let salt = SaltString::encode_b64(uuid::Uuid::new_v4().as_bytes())?;
    Ok(Argon2::default().hash_password(password.as_bytes(), &salt)?.to_string())
}

fn verify_blocking(password: &str, stored: Option<&str>) -> bool {
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

/// Argon2id as a PHC string.
pub async fn hash(password: String) -> anyhow::Result<String> {
    off_the_executor(move || hash_blocking(&password)).await?.map_err(|error| anyhow::anyhow!("cannot hash: {error}"))
}

/// Whether the password fits a stored Argon2 or bcrypt hash. Without one takes as
/// long and returns false, as it does for a password of over [`MAX_BYTES`].
pub async fn verify(mut password: String, stored: Option<String>) -> anyhow::Result<bool> {
    let too_long = password.len() > MAX_BYTES;
    if too_long {
        password.clear();
    }
    let fits = off_the_executor(move || verify_blocking(&password, stored.as_deref())).await?;
    Ok(fits && !too_long)
}

async fn off_the_executor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    let permit = Arc::clone(&CORES).acquire_owned().await?;
    let task = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(permit);
        done
    });
    Ok(task.await?)
}

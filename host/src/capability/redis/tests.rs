//! What the stand-in promises. The same promises are held against a real
//! server in the integration tests.

use super::{Store, StoreError};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// Run against both backends: each command, and the ends of keys.
pub async fn conforms(store: &Store) -> Result<(), StoreError> {
    assert_eq!(store.get("a").await?, None);
    store.set("a", b"1".to_vec(), LONG).await?;
    assert_eq!(store.get("a").await?, Some(b"1".to_vec()));
    assert!(!store.set_if_absent("a", b"2".to_vec(), LONG).await?);
    assert!(store.delete("a").await? && !store.delete("a").await?);
    assert!(store.set_if_absent("a", b"2".to_vec(), LONG).await?);

    assert!(!store.compare_and_set("a", Some(b"1".to_vec()), b"3".to_vec(), LONG).await?);
    assert!(!store.compare_and_set("a", None, b"3".to_vec(), LONG).await?);
    assert!(store.compare_and_set("a", Some(b"2".to_vec()), b"3".to_vec(), LONG).await?);
    assert!(store.compare_and_set("b", None, b"".to_vec(), LONG).await?);
    assert_eq!(store.get("b").await?, Some(Vec::new()));
    assert!(store.any_exists(&["zz".into(), "b".into()]).await?);
    assert!(!store.any_exists(&["zz".into()]).await?);

    let first = store.increment("n", 2, LONG).await?;
    let second = store.increment("n", -5, LONG * 2).await?;
    assert_eq!((first.count, second.count), (2, -3));
    assert!(second.ends_in <= LONG, "only a new key gets its time to live");
    store.set("text", b"x".to_vec(), LONG).await?;
    assert!(matches!(store.increment("text", 1, LONG).await, Err(StoreError::Refused(_))));
    store.set("most", i64::MAX.to_string().into_bytes(), LONG).await?;
    assert!(matches!(store.increment("most", 1, LONG).await, Err(StoreError::Refused(_))));

    assert!(store.expire("a", Duration::from_millis(1)).await?);
    assert!(!store.expire("missing", LONG).await?);
    store.set("short", b"1".to_vec(), Duration::from_millis(1)).await?;
    let gone = async {
        while store.get("a").await?.is_some() || store.get("short").await?.is_some() {
            tokio::task::yield_now().await;
        }
        Ok::<_, StoreError>(())
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("keys end")?;
    assert!(store.set_if_absent("short", b"2".to_vec(), LONG).await?, "an ended key is absent");
    store.publish("channel", b"payload".to_vec()).await
}

#[tokio::test]
async fn the_stand_in_conforms() {
    conforms(&Store::memory("p:")).await.expect("no error");
}

/// A Redis of its own on a Unix socket: Debian's `redis-server` is a
/// prerequisite of the tests, which the integration tests install.
#[tokio::test]
async fn a_server_conforms() {
    let dir = std::env::temp_dir().join(format!("shema-redis-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let socket = dir.join("redis.sock");
    let mut child = std::process::Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(&socket)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("redis-server is installed (Debian: apt-get install redis-server)");
    let store = Store::server(&format!("redis+unix://{}", socket.display()), "p:").expect("a good address");
    let up = async {
        while !store.is_up() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let up = tokio::time::timeout(Duration::from_secs(10), up).await;
    let outcome = conforms(&store).await;
    child.kill().expect("still running");
    child.wait().expect("reaped");
    std::fs::remove_dir_all(&dir).expect("removed");
    up.expect("Redis answers");
    outcome.expect("no error");
}

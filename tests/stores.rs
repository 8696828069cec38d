//! Redis and what stands in for it: the same promises are held against both.

use crate::harness::{TIMEOUT, redis, until};
use host::services::redis::{Store, StoreError};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// Run against both backends: each command, and the ends of keys.
async fn conforms(store: &Store) -> Result<(), StoreError> {
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
    tokio::time::timeout(TIMEOUT, gone).await.expect("keys end")?;
    assert!(store.set_if_absent("short", b"2".to_vec(), LONG).await?, "an ended key is absent");
    store.publish("channel", b"payload".to_vec()).await
}

#[tokio::test]
async fn the_stand_in_conforms() {
    conforms(&Store::memory("p:")).await.expect("no error");
}

#[tokio::test]
async fn a_server_conforms() {
    let store = Store::server(&redis().url(), "stores:").expect("a good address");
    until("Redis to be there", async || store.is_up().then_some(())).await;
    conforms(&store).await.expect("no error");
}

//! Which rooms somebody is in, on any host: each host keeps its own in the
//! database, as of a second ago. A host that is gone takes its rooms along.

use super::hub::{Hub, Room};
use crate::services::database::Pool;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(1);
const ANNOUNCE_ALL_AFTER: u32 = 30;

/// Tells the database which rooms of this host somebody is in, until `stop`.
pub async fn announce(hub: Arc<Hub>, pool: Pool, node: Uuid, stop: CancellationToken) {
    hub.set_node(node);
    let for_ever = async {
        let mut told: BTreeSet<Room> = BTreeSet::new();
        let mut looks: u32 = 0;
        loop {
            tokio::time::sleep(ANNOUNCE_INTERVAL).await;
            looks = looks.wrapping_add(1);
            // All of them every so often: a crash of the database forgets them.
            let again = looks.is_multiple_of(ANNOUNCE_ALL_AFTER);
            let now = hub.all_rooms();
            match tell(&pool, node, &told, &now, again).await {
                Ok(()) => told = now,
                Err(error) => tracing::debug!("cannot tell who is present: {error}"),
            }
        }
    };
    tokio::select! {
        () = for_ever => (),
        () = stop.cancelled() => (),
    }
}

async fn tell(pool: &Pool, node: Uuid, told: &BTreeSet<Room>, now: &BTreeSet<Room>, again: bool) -> anyhow::Result<()> {
    let split = |rooms: Vec<&Room>| -> (Vec<String>, Vec<String>) { rooms.into_iter().cloned().unzip() };
    let gone = split(told.difference(now).collect());
    let come = if again { split(now.iter().collect()) } else { split(now.difference(told).collect()) };
    if gone.0.is_empty() && come.0.is_empty() {
        return Ok(());
    }
    let mut lease = pool.get().await?;
    let delete = "delete from deploy.rooms r using unnest($2::text[], $3::text[]) as gone (component, room)
                  where r.node = $1 and r.component = gone.component and r.room = gone.room";
    sqlx::query(delete).bind(node).bind(gone.0).bind(gone.1).execute(lease.connection()).await?;
    let insert = "insert into deploy.rooms (node, component, room)
                  select $1, * from unnest($2::text[], $3::text[]) on conflict do nothing";
    sqlx::query(insert).bind(node).bind(come.0).bind(come.1).execute(lease.connection()).await?;
    lease.give_back();
    Ok(())
}

/// Those of the rooms that somebody is in: of this host as of now.
pub async fn present(hub: &Hub, owner: &Pool, component: &str, rooms: &[String]) -> anyhow::Result<Vec<String>> {
    // Before the lookup takes its time: a guest whose sockets end one after the
    // other has gone with the last one only.
    let here: BTreeSet<&String> = rooms.iter().filter(|room| hub.has_room(component, room)).collect();
    let mut lease = owner.get().await?;
    let select = "select distinct r.room from deploy.rooms r join deploy.nodes n on n.id = r.node
                  where r.component = $1 and r.room = any($2) and r.node is distinct from $3
                    and n.seen_at > now() - interval '15 seconds'";
    let elsewhere: Vec<String> = sqlx::query_scalar(select)
        .bind(component)
        .bind(rooms)
        .bind(hub.node())
        .fetch_all(lease.connection())
        .await?;
    lease.give_back();
    let elsewhere: BTreeSet<&String> = elsewhere.iter().collect();
    let is_present = |room: &&String| here.contains(room) || elsewhere.contains(room);
    Ok(rooms.iter().filter(is_present).cloned().collect())
}

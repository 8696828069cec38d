//! All connections of this host: which rooms they are in, and who gets what is
//! sent.

use super::{connection::Connection, frame::Frame};
use moka::sync::Cache;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::watch;
use uuid::Uuid;

/// How long a name of an event is remembered. A relay that was away for longer
/// repeats numbered frames, which are known by their numbers.
const DEDUP_WINDOW: Duration = Duration::from_secs(600);
const DEDUP_CAPACITY: u64 = 500_000;

/// What a call asks of the hub.
pub enum Effect {
    Send(Uuid, Frame),
    Broadcast(String, Frame),
    Close(Uuid, u16, String),
    CloseRoom(String, u16, String),
    Leave(Uuid, String),
    Position(Uuid, String, u64),
    Advance(String, String, u64),
    CatchUp(Uuid, String, u64),
    Mute(Uuid, String, bool),
    State(Uuid, Vec<u8>),
    Timer(Uuid, Duration),
    Limit(Uuid, usize),
}

/// A room belongs to a component: no other can look into it.
pub type Room = (String, String);

/// All connections of this host.
pub struct Hub {
    connections: RwLock<HashMap<Uuid, Arc<Connection>>>,
    rooms: RwLock<HashMap<Room, HashMap<Uuid, Arc<Connection>>>>,
    /// Component, room and name of events that were broadcast. The empty room
    /// stands for any.
    seen: Cache<(String, String, String), ()>,
    /// What each component listens to.
    channels: watch::Sender<BTreeMap<String, Vec<String>>>,
    /// The host's id among the others, once it has one.
    node: OnceLock<Uuid>,
}

impl Default for Hub {
    fn default() -> Hub {
        Hub {
            connections: RwLock::default(),
            rooms: RwLock::default(),
            seen: Cache::builder().max_capacity(DEDUP_CAPACITY).time_to_live(DEDUP_WINDOW).build(),
            channels: watch::Sender::default(),
            node: OnceLock::new(),
        }
    }
}

impl Hub {
    pub fn set_node(&self, node: Uuid) {
        let _ = self.node.set(node);
    }

    pub fn node(&self) -> Option<Uuid> {
        self.node.get().copied()
    }

    pub fn add(&self, connection: &Arc<Connection>) {
        self.connections.write().unwrap_or_else(PoisonError::into_inner).insert(connection.id, Arc::clone(connection));
    }

    /// Listens to these channels for a component from here on.
    pub fn subscribe(&self, component: &str, channels: &[String]) {
        self.channels.send_if_modified(|granted| {
            let is_new = granted.get(component).is_none_or(|before| before != channels);
            if is_new {
                granted.insert(component.to_owned(), channels.to_vec());
            }
            is_new
        });
    }

    /// What each component listens to, now and from here on.
    pub fn channels(&self) -> watch::Receiver<BTreeMap<String, Vec<String>>> {
        self.channels.subscribe()
    }

    /// Removes a connection from the hub and from its rooms.
    pub fn remove(&self, connection: &Connection) {
        self.connections.write().unwrap_or_else(PoisonError::into_inner).remove(&connection.id);
        for room in connection.rooms() {
            self.leave(connection, &room);
        }
    }

    pub fn all(&self) -> Vec<Arc<Connection>> {
        self.connections.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.connections.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until all connections are closed.
    pub async fn drained(&self) {
        while self.count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The open connection of this id, if it is one of this component's.
    pub fn find(&self, component: &str, id: Uuid) -> Option<Arc<Connection>> {
        let connections = self.connections.read().unwrap_or_else(PoisonError::into_inner);
        connections.get(&id).filter(|connection| connection.component == component).cloned()
    }

    /// At once; true if it was not in the room before. A connection that has just
    /// gone joins nothing.
    pub fn join(&self, connection: &Arc<Connection>, room: &str) -> bool {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let members = rooms.entry((connection.component.clone(), room.to_owned())).or_default();
        let is_new = members.insert(connection.id, Arc::clone(connection)).is_none();
        drop(rooms);
        connection.joined(room);
        if self.find(&connection.component, connection.id).is_none() {
            self.leave(connection, room);
        }
        is_new
    }

    fn leave(&self, connection: &Connection, room: &str) {
        let key = (connection.component.clone(), room.to_owned());
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(members) = rooms.get_mut(&key) {
            members.remove(&connection.id);
            if members.is_empty() {
                rooms.remove(&key);
            }
        }
        drop(rooms);
        connection.left(room);
    }

    fn members(&self, component: &str, room: &str) -> Vec<Arc<Connection>> {
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        let members = rooms.get(&(component.to_owned(), room.to_owned()));
        members.map(|members| members.values().cloned().collect()).unwrap_or_default()
    }

    /// Rooms of a component that somebody of this host is in.
    pub fn rooms(&self, component: &str) -> Vec<String> {
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.keys().filter(|(owner, _)| owner == component).map(|(_, room)| room.clone()).collect()
    }

    /// The same of all components.
    pub fn all_rooms(&self) -> BTreeSet<Room> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Whether somebody of this host is in that room.
    pub fn has_room(&self, component: &str, room: &str) -> bool {
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.contains_key(&(component.to_owned(), room.to_owned()))
    }

    /// Whether this host has broadcast an event of this name.
    pub fn has_seen(&self, component: &str, event: &str) -> bool {
        self.seen.contains_key(&(component.to_owned(), String::new(), event.to_owned()))
    }

    /// True if this event is broadcast to the room for the first time.
    fn is_new(&self, component: &str, room: &str, event: &str) -> bool {
        self.seen.insert((component.to_owned(), String::new(), event.to_owned()), ());
        let key = (component.to_owned(), room.to_owned(), event.to_owned());
        self.seen.entry(key).or_insert(()).is_fresh()
    }

    /// Carries out what a call has asked for, in order.
    pub fn apply(&self, component: &str, effects: Vec<Effect>) {
        let of = |id| self.find(component, id);
        for effect in effects {
            match effect {
                Effect::Send(id, frame) => {
                    if let Some(connection) = of(id) {
                        connection.send(&frame);
                    }
                }
                Effect::Broadcast(room, frame) => self.broadcast(component, &room, &frame),
                Effect::Close(id, code, reason) => {
                    if let Some(connection) = of(id) {
                        connection.close(code, &reason);
                    }
                }
                Effect::CloseRoom(room, code, reason) => {
                    for connection in self.members(component, &room) {
                        connection.close(code, &reason);
                    }
                }
                Effect::Leave(id, room) => {
                    if let Some(connection) = of(id) {
                        self.leave(&connection, &room);
                    }
                }
                Effect::Advance(room, stream, number) => {
                    for connection in self.members(component, &room) {
                        connection.advance(&stream, number);
                    }
                }
                Effect::Position(id, stream, number) => {
                    if let Some(connection) = of(id) {
                        connection.set_position(&stream, number);
                    }
                }
                Effect::CatchUp(id, stream, number) => {
                    if let Some(connection) = of(id) {
                        connection.catch_up(&stream, number);
                    }
                }
                Effect::Mute(id, stream, muted) => {
                    if let Some(connection) = of(id) {
                        connection.mute(&stream, muted);
                    }
                }
                Effect::State(id, state) => {
                    if let Some(connection) = of(id) {
                        connection.set_state(state);
                    }
                }
                Effect::Timer(id, duration) => {
                    if let Some(connection) = of(id) {
                        connection.set_timer(duration);
                    }
                }
                Effect::Limit(id, bytes) => {
                    if let Some(connection) = of(id) {
                        connection.set_limit(bytes);
                    }
                }
            }
        }
    }

    fn broadcast(&self, component: &str, room: &str, frame: &Frame) {
        if let Some(event) = &frame.event_id
            && !self.is_new(component, room, event)
        {
            return;
        }
        for connection in self.members(component, room) {
            connection.broadcast(frame);
        }
    }
}

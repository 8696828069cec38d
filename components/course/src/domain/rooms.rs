//! Where it is taught.

use super::{RoomId, ScheduleId};
use sdk::{Code, Error, Int, Item, List, Patch, Text, Timestamp, request, row};

pub const ROOM_IN_USE: Code = Code::new(409, "ROOM_IN_USE");

row! {
    pub struct Room {
        pub id: RoomId,
        pub name: String,
        pub capacity: Option<i64>,
        pub location: Option<String>,
        pub description: Option<String>,
        pub instruments: Vec<String>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }

    /// A class that is to come in a room.
    pub struct RoomClass {
        pub id: ScheduleId,
        pub course_title: String,
        pub start_time: Timestamp,
        pub end_time: Timestamp,
        pub instructor_name: String,
    }
}

impl Item for Room {
    const PLURAL: &'static str = "rooms";
}

pub type Name = Text<2, 100>;
pub type Capacity = Int<1, 1000>;
pub type Description = Text<0, 1000>;
pub type Location = Text<0, 255>;
pub type Instruments = List<Text<0, 50>, 0, 20>;

request! {
    pub struct NewRoom {
        pub name: Name,
        pub capacity: Capacity,
        pub description: Option<Description>,
        pub location: Option<Location>,
        pub instruments: Option<Instruments>,
    }
}

request! {
    pub partial struct RoomChanges {
        pub name: Patch<Name>,
        pub capacity: Patch<Capacity>,
        pub description: Patch<Option<Description>>,
        pub location: Patch<Option<Location>>,
        pub instruments: Patch<Instruments>,
    }
}

pub fn not_found() -> Error {
    Error::not_found("Room")
}

pub fn in_use() -> Error {
    Error::new(ROOM_IN_USE, "Schedules refer to this room")
}

pub fn too_small() -> Error {
    Error::new(ROOM_IN_USE, "A future schedule has more seats than that")
}

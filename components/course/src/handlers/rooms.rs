//! ROOM-1 to ROOM-5.

use crate::{
    domain::{
        RoomId,
        rooms::{self, NewRoom, Room, RoomChanges, RoomClass},
    },
    store,
};
use schemars::JsonSchema;
use sdk::{
    Ack, Body, Call, Created, Data, Error, Id, Listing, Page, Path, Result,
    database::{self, transaction},
};
use serde::Serialize;

#[derive(JsonSchema, Serialize)]
pub struct RoomDetail {
    #[serde(flatten)]
    room: Room,
    upcoming_schedules: Vec<RoomClass>,
}

pub fn list(_: &Call, page: Page) -> Result<Data<Listing<Room>>> {
    let listing = Listing::read(page, || store::list_rooms(page), store::count_rooms)?;
    Ok(Data(listing))
}

pub fn show(_: &Call, Path(id): Path<RoomId>) -> Result<Data<RoomDetail>> {
    let room = store::find_room(&id)?.ok_or_else(rooms::not_found)?;
    Ok(Data(RoomDetail { room, upcoming_schedules: store::list_room_classes(&id)? }))
}

pub fn create(_: &Call, Body(new): Body<NewRoom>) -> Result<Created<Room>> {
    store::insert_room(&new).map(Created).map_err(name_taken)
}

pub fn update(_: &Call, Path(id): Path<RoomId>, Body(changes): Body<RoomChanges>) -> Result<Data<Room>> {
    transaction(|transaction| {
        // Changed first, which locks the room: a class planned in it meanwhile
        // waits for this commit, or is seen by the check.
        let room = store::update_room(transaction, &id, &changes).map_err(name_taken)?.ok_or_else(rooms::not_found)?;
        if let Some(capacity) = changes.capacity.as_option()
            && store::room_is_too_small(transaction, &id, *capacity)?
        {
            return Err(rooms::too_small());
        }
        Ok(Data(room))
    })
}

pub fn delete(_: &Call, Path(id): Path<RoomId>) -> Result<Ack<Id<RoomId>>> {
    match store::delete_room(&id) {
        Ok(true) => Ok(Ack::new("Room deleted").with(Id { id })),
        Ok(false) => Err(rooms::not_found()),
        Err(error) if error.is_referenced() => Err(rooms::in_use()),
        Err(error) => Err(error.into()),
    }
}

fn name_taken(error: database::Error) -> Error {
    if error.violates("rooms_name_key") { Error::duplicate("name") } else { error.into() }
}

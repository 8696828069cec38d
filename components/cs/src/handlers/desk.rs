//! CS-5 to CS-10: the admins' side.

use super::{Sent, sent};
use crate::{
    chat,
    domain::{
        SessionId, UserId,
        messages::{NewMessage, Sender, Window},
        sessions::{
            self, Assigned, Assignee, Conversation, DeskConversation, ListedSession, OwnSessionFilter, Session,
            SessionFilter, Status, StatusChange,
        },
    },
    store::{self, Filter},
};
use schemars::JsonSchema;
use sdk::{Body, Call, Data, Listing, OptionalBody, Page, Path, Query, Result, Stored, Text};
use serde::Serialize;

/// CS-10.
#[derive(JsonSchema, Serialize)]
pub struct Changed {
    session: Session,
}

pub fn list(_: &Call, Query(query): Query<SessionFilter>, page: Page) -> Result<Data<Listing<ListedSession>>> {
    let search = query.search.as_ref().map(Text::like_pattern);
    listing(&Filter { status: query.status, assigned: query.assigned, search, admin: None }, page)
}

pub fn list_mine(
    call: &Call,
    Query(query): Query<OwnSessionFilter>,
    page: Page,
) -> Result<Data<Listing<ListedSession>>> {
    let status = Some(query.status.unwrap_or(Status::Open));
    listing(&Filter { status, admin: Some(caller(call)?), ..Filter::default() }, page)
}

pub fn show(_: &Call, Path(id): Path<SessionId>) -> Result<Data<DeskConversation>> {
    let session = store::find_session(&id)?.ok_or_else(sessions::not_found)?;
    let messages = chat::read(&id, &Window::NEWEST)?.messages;
    let assignment = store::find_assignment(&id)?;
    Ok(Data(DeskConversation { conversation: Conversation { session, messages }, assignment }))
}

pub fn assign(
    call: &Call,
    Path(id): Path<SessionId>,
    OptionalBody(assignee): OptionalBody<Assignee>,
) -> Result<Data<Assigned>> {
    let assigned = match assignee.admin_id {
        Some(admin) => chat::assign(&id, &admin)?,
        None => chat::claim(&id, &caller(call)?)?,
    };
    Ok(Data(assigned))
}

pub fn send(call: &Call, Path(id): Path<SessionId>, Body(new): Body<NewMessage>) -> Result<Stored<Sent>> {
    chat::send(&id, &Sender::Admin(caller(call)?), &new).map(sent)
}

pub fn set_status(_: &Call, Path(id): Path<SessionId>, Body(change): Body<StatusChange>) -> Result<Data<Changed>> {
    chat::set_status(&id, change.status).map(|session| Data(Changed { session }))
}

fn listing(filter: &Filter, page: Page) -> Result<Data<Listing<ListedSession>>> {
    let items = || store::list_sessions(filter, page);
    Ok(Data(Listing::read(page, items, || store::count_sessions(filter))?))
}

fn caller(call: &Call) -> Result<UserId> {
    Ok(UserId(call.user()?.user_id.clone()))
}

//! CS-1 to CS-4: the guest's side. Who knows a session's token is its guest;
//! where something is only to be read, an admin may do so, too.
//!
//! The order of judgement is the chat's own: malformed id, unknown session,
//! token, and only then query and body. So those are read late.

use super::{Sent, sent};
use crate::{
    chat,
    domain::{
        SessionId,
        messages::{AdminWindow, Excerpt, GuestWindow, NewMessage, Sender, Window},
        sessions::{self, Conversation, NewSession, Started},
        token,
    },
    settings, store,
};
use sdk::{Body, Call, Created, Data, Path, Query, Result, Role, Stored, Unread, extract::Extract};

/// On what ground somebody reads a session.
enum Reader {
    Guest,
    Admin,
}

pub fn start(_: &Call, Body(new): Body<NewSession>) -> Result<Created<Started>> {
    chat::start(&new).map(Created)
}

pub fn show(call: &Call, Path(id): Path<SessionId>) -> Result<Data<Conversation>> {
    let reader = reader(call, &id)?;
    let session = store::find_session(&id)?.ok_or_else(sessions::not_found)?;
    let session = match reader {
        Reader::Guest => session.for_guest(),
        Reader::Admin => session,
    };
    Ok(Data(Conversation { session, messages: chat::read(&id, &Window::NEWEST)?.messages }))
}

pub fn send(call: &Call, Path(id): Path<SessionId>, body: Unread<Body<NewMessage>>) -> Result<Stored<Sent>> {
    chat::check_guest(&id, call.header(token::HEADER))?;
    let Body(new) = body.read(call)?;
    chat::send(&id, &Sender::Guest, &new).map(sent)
}

pub fn messages(call: &Call, Path(id): Path<SessionId>, query: Unread<Query<AdminWindow>>) -> Result<Data<Excerpt>> {
    let window = match reader(call, &id)? {
        Reader::Admin => query.read(call)?.0.into(),
        Reader::Guest => Query::<GuestWindow>::extract(call)?.0.into(),
    };
    chat::read(&id, &window).map(Data)
}

/// The first credential that is sent decides, good or bad.
fn reader(call: &Call, id: &SessionId) -> Result<Reader> {
    if chat::presents_token(id, call.header(token::HEADER))? {
        return Ok(Reader::Guest);
    }
    if let Some(refusal) = call.refusal() {
        return Err(refusal);
    }
    match call.caller() {
        Some(user) if user.role == Role::Admin => Ok(Reader::Admin),
        Some(_) => Err(call.forbidden()),
        None if settings::token_required() => Err(token::missing()),
        None => Ok(Reader::Guest),
    }
}

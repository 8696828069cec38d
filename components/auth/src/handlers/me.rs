//! AUTH-8: the caller's own row.

use crate::{
    domain::{self, User, UserId},
    store,
};
use sdk::{Call, Data, Result};

pub fn me(call: &Call) -> Result<Data<User>> {
    let id = UserId(call.user()?.user_id.clone());
    store::find_user(&id)?.map(Data).ok_or_else(domain::user_gone)
}

//! What the host has done every so often.

use crate::{events, store};
use sdk::{Call, Data, Result, database::transaction};
use serde_json::{Value, json};

/// So many at a time, so that no transaction holds many locks for long.
const BATCH: i64 = 500;

/// Makes expired bookings of all that are overdue. Nobody waits for it: what is
/// overdue counts as expired already. Bookings that are being decided are left
/// to whoever decides them.
pub fn expire(_: &Call) -> Result<Data<Value>> {
    let mut total: i64 = 0;
    loop {
        let expired = transaction(|transaction| {
            let swept = store::sweep_bookings(transaction, BATCH)?;
            for booking in &swept {
                events::booking_expired(transaction, &booking.id, &booking.course_id)?;
            }
            Ok(i64::try_from(swept.len()).unwrap_or(BATCH))
        })?;
        total += expired;
        if expired < BATCH {
            return Ok(Data(json!({ "expired": total })));
        }
    }
}

//! BKG-2 and BKG-5.

use crate::{
    domain::{
        UserId,
        bookings::{ListedBooking, PendingFilter, StatusFilter},
    },
    store,
};
use sdk::{Call, Data, Listing, Page, Path, Query, Result};

pub fn pending(_: &Call, Query(filter): Query<PendingFilter>, page: Page) -> Result<Data<Listing<ListedBooking>>> {
    let listing =
        Listing::read(page, || store::list_pending_bookings(&filter, page), || store::count_pending_bookings(&filter))?;
    Ok(Data(listing))
}

pub fn of_user(
    _: &Call,
    Path(user): Path<UserId>,
    Query(filter): Query<StatusFilter>,
    page: Page,
) -> Result<Data<Listing<ListedBooking>>> {
    let listing = Listing::read(
        page,
        || store::list_user_bookings(&user, &filter, page),
        || store::count_user_bookings(&user, &filter),
    )?;
    Ok(Data(listing))
}

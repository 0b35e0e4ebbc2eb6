//! The one place where a page sets the status of its response. In the browser there is none to set.

/// Sets the HTTP status of the page, or of the server function, that is being answered.
#[cfg(feature = "ssr")]
pub fn set(code: u16) {
    let response = leptos::prelude::use_context::<leptos_axum::ResponseOptions>();
    if let (Some(response), Ok(status)) = (response, http::StatusCode::from_u16(code)) {
        response.set_status(status);
    }
}

/// Does nothing: the page is already here.
#[cfg(not(feature = "ssr"))]
pub fn set(_code: u16) {}

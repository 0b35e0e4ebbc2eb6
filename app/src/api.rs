//! All that a page may ask of the server.

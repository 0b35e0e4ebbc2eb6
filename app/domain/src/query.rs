//! The question that the URL speaks: filter, search, sort, page. To be written next.

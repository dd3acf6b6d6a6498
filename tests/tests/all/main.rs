//! The one integration binary: promises through the front door, faults with their figures.

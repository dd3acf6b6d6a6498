//! The protocol through its front door: any chopping of a stream gives the same
//! events, the same frames give tungstenite the same messages, and every input
//! that fuzzing keeps is tried again on each run.

mod chopping;
mod corpus;
mod differential;
mod scripts;
mod targets;

"""Codecs of CMPP, SGIP, SMGP and SMPP, and what their messages share. Octets in, values out; nothing here does I/O."""

"""The files of a home, behind one port: in a folder, or in an object store."""

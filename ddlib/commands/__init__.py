"""The commands of the command line: a file each, found by its name.

A file ``NAME.py`` here is the command ``ddlib NAME``: the first line of its docstring, as in
"``ddlib NAME``: what it does.", is its line in the help, and its ``command`` is the click command.
It is imported only when it is called.
"""

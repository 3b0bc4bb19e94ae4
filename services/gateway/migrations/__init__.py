"""Changes of the database's tables from version to version, by Alembic.

A revision that only adds, so that older gateways go on with the new tables, says since which one:
0007_since_0005. What is added is empty or has a default, for they do not write it. A revision that
takes away or changes what is there is named by its number alone, and older gateways refuse to start
on it: it comes a version after the last one that needed what it takes away.
"""

#!/bin/sh
# Make Temporal's databases, and bring their tables up to the version of this image. Safe to repeat.
# Where the server is and who we are: SQL_… in the environment.
set -eu

for each in temporal/temporal temporal_visibility/visibility; do
  database=${each%/*} schema=${each#*/}
  temporal-sql-tool --database "$database" create-database
  temporal-sql-tool --database "$database" setup-schema --version 0.0
  temporal-sql-tool --database "$database" update-schema --schema-dir "/etc/temporal/schema/postgresql/v12/$schema/versioned"
done

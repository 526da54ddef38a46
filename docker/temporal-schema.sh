#!/bin/sh
# Create Temporal's databases, and update their tables to the version of this image. Can be repeated safely.
# SQL_… in the environment contains the server's address and the credentials.
set -eu

for each in temporal/temporal temporal_visibility/visibility; do
  database=${each%/*} schema=${each#*/}
  temporal-sql-tool --database "$database" create-database
  temporal-sql-tool --database "$database" setup-schema --version 0.0
  temporal-sql-tool --database "$database" update-schema --schema-name "postgresql/v12/$schema"
done

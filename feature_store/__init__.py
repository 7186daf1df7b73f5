"""What both sides of the product share: schema, ids, tables, index naming, encoders and errors."""

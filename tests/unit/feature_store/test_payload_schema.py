import pytest
from qdrant_client import models

from feature_store.config import CategoryConfig
from feature_store.errors import ConfigurationError
from feature_store.payload_schema import indexed_fields, schema_type


def category(name, metadata=(), **types):
    return CategoryConfig(
        name=name, collection=name, text="body", metadata={key: key for key in metadata}, metadata_types=types
    )


def test_every_index_has_the_fields_of_documents_and_chunks():
    fields = indexed_fields([])
    assert fields["category"] == fields["author"] == fields["role"] == fields["parent_id"] == "keyword"
    assert fields["published_at"] == fields["updated_at"] == "datetime"
    assert fields["position"] == fields["size"] == "integer"
    assert "text" not in fields


def test_metadata_are_keywords_unless_their_type_is_given():
    one = category("one", ["topic", "stars"], stars="float")
    fields = indexed_fields([one, category("two", ["topic", "at"], at="datetime")])
    metadata = {field: kind for field, kind in fields.items() if field.startswith("metadata.")}
    assert metadata == {"metadata.topic": "keyword", "metadata.stars": "float", "metadata.at": "datetime"}


def test_two_categories_may_agree_on_a_type():
    both = [category("one", ["stars"], stars="integer"), category("two", ["stars"], stars="integer")]
    assert indexed_fields(both)["metadata.stars"] == "integer"


@pytest.mark.parametrize("types", [("integer", None), (None, "integer"), ("integer", "float")], ids=str)
def test_two_types_of_one_name_are_refused(types):
    categories = [
        category(name, ["stars"], **({"stars": given} if given else {}))
        for name, given in zip(("one", "two"), types, strict=True)
    ]
    with pytest.raises(ConfigurationError, match=r"metadata\.stars is .* in category one and .* in two"):
        indexed_fields(categories)


def test_each_type_is_one_of_qdrants():
    kinds = ["keyword", "integer", "float", "bool", "datetime"]
    assert [schema_type(kind) for kind in kinds] == [models.PayloadSchemaType(kind) for kind in kinds]

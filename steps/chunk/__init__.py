"""The chunk stage: cuts cleaned documents into sliding windows that end at borders of meaning."""

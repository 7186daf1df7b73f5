"""The chunk stage: cuts cleaned documents at borders of meaning, by the strategy of each index."""

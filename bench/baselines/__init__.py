"""What we compare with: plain forms that most would write, and other people's stores."""
